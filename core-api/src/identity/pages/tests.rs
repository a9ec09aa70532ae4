//! Pages through the router of the core.
