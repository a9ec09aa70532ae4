//! Argon2id (RFC 9106) with a pepper, and the text that the database keeps of it (PHC string format).
//!
//! **Invariant:** a stored text that asks for more than our ceiling is refused before any memory is touched: a hostile
//! row must not be able to exhaust the machine.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 6;
const MAX_MEMORY_KIB: u32 = 131_072;
const MAX_ITERATIONS: u32 = 10;

/// How new hashes are made.
#[derive(Clone)]
pub(crate) struct Recipe {
    memory_kib: u32,
    iterations: u32,
    pepper: Zeroizing<Vec<u8>>,
    /// Names the pepper without telling it, so that a hash under another one is recognised.
    key_id: String,
}

/// Why a password cannot be hashed or compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashError {
    /// The stored text is not one of ours, or asks for more than the ceiling.
    #[error("the stored password hash is malformed or beyond the ceiling")]
    Stored,
    /// The stored text was made with a pepper that this process does not have.
    #[error("the stored password hash needs another pepper")]
    Pepper,
    /// The library refused.
    #[error("argon2 refused")]
    Library,
}

/// What comparing a password found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Whether it is the password.
    pub(crate) matches: bool,
    /// A fresh hash of a matching password, when the stored one was made by another recipe.
    pub(crate) renewed: Option<String>,
}

struct Stored {
    memory_kib: u32,
    iterations: u32,
    key_id: String,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl std::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recipe")
            .field("memory_kib", &self.memory_kib)
            .field("iterations", &self.iterations)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl Recipe {
    /// A recipe; memory in KiB.
    pub(crate) fn new(memory_kib: u32, iterations: u32, pepper: &[u8]) -> Self {
        let name = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, pepper),
            b"portico pepper name v1",
        );
        let name: Vec<u8> = name.as_ref().iter().take(KEY_ID_BYTES).copied().collect();
        Self {
            memory_kib,
            iterations,
            pepper: Zeroizing::new(pepper.to_vec()),
            key_id: STANDARD_NO_PAD.encode(name),
        }
    }

    /// Hashes a password with a new salt.
    pub(crate) fn hash(&self, password: &str, memory: &mut Vec<Block>) -> Result<String, HashError> {
        let mut salt = [0_u8; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| HashError::Library)?;
        let hash = self.derive(password, &salt, self.memory_kib, self.iterations, memory)?;
        Ok(format!(
            "$argon2id$v=19$m={},t={},p=1,keyid={}${}${}",
            self.memory_kib,
            self.iterations,
            self.key_id,
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(*hash)
        ))
    }

    /// Compares a password with a stored text; a match that was made by another recipe is hashed anew at once.
    pub(crate) fn compare(
        &self,
        password: &str,
        stored: &str,
        memory: &mut Vec<Block>,
    ) -> Result<Comparison, HashError> {
        let stored = Stored::parse(stored).ok_or(HashError::Stored)?;
        if stored.key_id != self.key_id {
            return Err(HashError::Pepper);
        }
        let hash = self.derive(
            password,
            &stored.salt,
            stored.memory_kib,
            stored.iterations,
            memory,
        )?;
        let matches = constant_time::verify_slices_are_equal(hash.as_slice(), &stored.hash).is_ok();
        let outdated = stored.memory_kib != self.memory_kib || stored.iterations != self.iterations;
        let renewed = if matches && outdated {
            Some(self.hash(password, memory)?)
        } else {
            None
        };
        Ok(Comparison { matches, renewed })
    }

    fn derive(
        &self,
        password: &str,
        salt: &[u8],
        memory_kib: u32,
        iterations: u32,
        memory: &mut Vec<Block>,
    ) -> Result<Zeroizing<[u8; HASH_BYTES]>, HashError> {
        let params =
            Params::new(memory_kib, iterations, 1, Some(HASH_BYTES)).map_err(|_| HashError::Library)?;
        let blocks = params.block_count();
        if memory.len() < blocks {
            memory.resize(blocks, Block::default());
        }
        let argon2 = Argon2::new_with_secret(&self.pepper, Algorithm::Argon2id, Version::V0x13, params)
            .map_err(|_| HashError::Library)?;
        let mut hash = Zeroizing::new([0_u8; HASH_BYTES]);
        argon2
            .hash_password_into_with_memory(
                password.as_bytes(),
                salt,
                hash.as_mut_slice(),
                memory.as_mut_slice(),
            )
            .map_err(|_| HashError::Library)?;
        Ok(hash)
    }
}

impl Stored {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (params, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let mut params = params.split(',');
        let mut param = |name: &str| params.next()?.strip_prefix(name)?.strip_prefix('=');
        let memory_kib = param("m")?
            .parse()
            .ok()
            .filter(|kib| (8..=MAX_MEMORY_KIB).contains(kib))?;
        let iterations = param("t")?
            .parse()
            .ok()
            .filter(|passes| (1..=MAX_ITERATIONS).contains(passes))?;
        param("p").filter(|lanes| *lanes == "1")?;
        let key_id = param("keyid")?.to_owned();
        if params.next().is_some() {
            return None;
        }
        let salt = STANDARD_NO_PAD
            .decode(salt)
            .ok()
            .filter(|salt| salt.len() == SALT_BYTES)?;
        let hash = STANDARD_NO_PAD
            .decode(hash)
            .ok()
            .filter(|hash| hash.len() == HASH_BYTES)?;
        Some(Self {
            memory_kib,
            iterations,
            key_id,
            salt,
            hash,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(memory_kib: u32, pepper: &str) -> Recipe {
        Recipe::new(memory_kib, 1, pepper.as_bytes())
    }

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let (recipe, mut memory) = (recipe(8, "pepper"), Vec::new());
        let stored = recipe.hash("correct horse", &mut memory).unwrap();
        assert_eq!(
            recipe.compare("correct horse", &stored, &mut memory),
            Ok(Comparison {
                matches: true,
                renewed: None
            })
        );
        assert!(
            !recipe
                .compare("correct horsf", &stored, &mut memory)
                .unwrap()
                .matches
        );
        assert_ne!(recipe.hash("correct horse", &mut memory).unwrap(), stored);
    }

    #[test]
    fn a_hash_of_an_older_recipe_is_renewed_after_a_match_and_only_then() {
        let (old, new, mut memory) = (recipe(8, "pepper"), recipe(16, "pepper"), Vec::new());
        let stored = old.hash("correct horse", &mut memory).unwrap();
        let renewed = new
            .compare("correct horse", &stored, &mut memory)
            .unwrap()
            .renewed
            .unwrap();
        assert!(renewed.contains("m=16,"), "{renewed}");
        assert!(
            new.compare("correct horse", &renewed, &mut memory)
                .unwrap()
                .matches
        );
        assert_eq!(new.compare("wrong", &stored, &mut memory).unwrap().renewed, None);
    }

    #[test]
    fn another_pepper_is_recognised() {
        let mut memory = Vec::new();
        let stored = recipe(8, "one").hash("p", &mut memory).unwrap();
        assert_eq!(
            recipe(8, "two").compare("p", &stored, &mut memory),
            Err(HashError::Pepper)
        );
    }

    #[test]
    fn a_hostile_row_is_refused_before_it_costs_anything() {
        let (recipe, mut memory) = (recipe(8, "pepper"), Vec::new());
        let good = recipe.hash("p", &mut memory).unwrap();
        for bad in [
            good.replace("m=8", "m=131073"),
            good.replace("m=8", "m=4294967295"),
            good.replace("t=1", "t=11"),
            good.replace("p=1", "p=9"),
            good.replace("argon2id", "argon2i"),
            good.replace("v=19", "v=16"),
            format!("{good}$"),
            String::new(),
        ] {
            assert_eq!(
                recipe.compare("p", &bad, &mut memory),
                Err(HashError::Stored),
                "{bad}"
            );
        }
        assert_eq!(memory.len(), 8);
    }
}
