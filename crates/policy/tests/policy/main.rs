//! The policy crate from outside: the shipped policies, decisions, messages, properties and documentation.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod audit_cases;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod diagnostics;
#[cfg(test)]
mod documentation;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod responses;
#[cfg(test)]
mod sarif;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod waivers;
#[cfg(test)]
mod world;
