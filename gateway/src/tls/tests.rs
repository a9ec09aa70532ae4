//! Pairs and names that are taken or not.
