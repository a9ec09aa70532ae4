//! Argon2id (RFC 9106) with a pepper, and the text that the database keeps of it (PHC string format).
//!
//! Passwords are hashed in their normal form (NFKC): `$argon2id$` says so. Hashes by bcrypt come from older systems, were
//! made of what was typed, and are outdated.
//!
//! **Invariant:** a stored text that asks for more than our ceiling is refused before any memory is touched: a hostile
//! row must not be able to exhaust the machine.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::bcrypt_hash;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 6;
const MAX_MEMORY_KIB: u32 = 131_072;
const MAX_ITERATIONS: u32 = 10;

/// How new hashes are made, and which are understood.
#[derive(Clone)]
pub(super) struct Recipe {
    memory_kib: u32,
    iterations: u32,
    pepper: Pepper,
    /// Peppers that made some of the stored hashes.
    others: Vec<Pepper>,
}

/// A secret that is in every hash and in no database.
#[derive(Clone)]
struct Pepper {
    secret: Zeroizing<Vec<u8>>,
    /// Names the pepper without telling it, so that a hash under another one is recognised.
    key_id: String,
}

impl Pepper {
    fn new(secret: &[u8]) -> Self {
        let name = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, secret),
            b"portico pepper name v1",
        );
        let name: Vec<u8> = name.as_ref().iter().take(KEY_ID_BYTES).copied().collect();
        Self {
            secret: Zeroizing::new(secret.to_vec()),
            key_id: STANDARD_NO_PAD.encode(name),
        }
    }
}

/// Why a password cannot be hashed or compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HashError {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It is another password.
    Other,
    /// It is the password.
    Same,
    /// It is the password, and the stored hash was made in another way than new ones are.
    Outdated,
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
            .field("key_id", &self.pepper.key_id)
            .finish_non_exhaustive()
    }
}

impl Recipe {
    /// A recipe; memory in KiB.
    pub(super) fn new(memory_kib: u32, iterations: u32, pepper: &[u8]) -> Self {
        Self {
            memory_kib,
            iterations,
            pepper: Pepper::new(pepper),
            others: Vec::new(),
        }
    }

    /// The same, which understands hashes under this pepper too.
    pub(super) fn accepting(mut self, pepper: &[u8]) -> Self {
        self.others.push(Pepper::new(pepper));
        self
    }

    /// Hashes a password with a new salt.
    pub(super) fn hash(&self, password: &str, memory: &mut Vec<Block>) -> Result<String, HashError> {
        let mut salt = [0_u8; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| HashError::Library)?;
        let cost = (self.memory_kib, self.iterations);
        let hash = derive(password, &salt, cost, &self.pepper, memory)?;
        Ok(format!(
            "$argon2id$v=19$m={},t={},p=1,keyid={}${}${}",
            self.memory_kib,
            self.iterations,
            self.pepper.key_id,
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(*hash)
        ))
    }

    /// Compares a password, as it was typed, with a stored text.
    pub(super) fn compare(
        &self,
        password: &str,
        stored: &str,
        memory: &mut Vec<Block>,
    ) -> Result<Found, HashError> {
        if bcrypt_hash::is_acceptable(stored) {
            let matches = bcrypt_hash::matches(password, stored);
            return Ok(if matches { Found::Outdated } else { Found::Other });
        }
        let stored = Stored::parse(stored).ok_or(HashError::Stored)?;
        let mut peppers = std::iter::once(&self.pepper).chain(&self.others);
        let pepper = peppers.find(|pepper| pepper.key_id == stored.key_id);
        let cost = (stored.memory_kib, stored.iterations);
        let hash = derive(
            password,
            &stored.salt,
            cost,
            pepper.ok_or(HashError::Pepper)?,
            memory,
        )?;
        let is_outdated = cost != (self.memory_kib, self.iterations) || stored.key_id != self.pepper.key_id;
        let matches = constant_time::verify_slices_are_equal(hash.as_slice(), &stored.hash).is_ok();
        Ok(match (matches, is_outdated) {
            (false, _) => Found::Other,
            (true, false) => Found::Same,
            (true, true) => Found::Outdated,
        })
    }
}

/// Argon2id of a password in its normal form; the cost is memory in KiB, and passes.
fn derive(
    password: &str,
    salt: &[u8],
    (memory_kib, iterations): (u32, u32),
    pepper: &Pepper,
    memory: &mut Vec<Block>,
) -> Result<Zeroizing<[u8; HASH_BYTES]>, HashError> {
    let params = Params::new(memory_kib, iterations, 1, Some(HASH_BYTES)).map_err(|_| HashError::Library)?;
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    let argon2 = Argon2::new_with_secret(&pepper.secret, Algorithm::Argon2id, Version::V0x13, params)
        .map_err(|_| HashError::Library)?;
    let mut hash = Zeroizing::new([0_u8; HASH_BYTES]);
    argon2
        .hash_password_into_with_memory(
            passwords::normal(password).as_bytes(),
            salt,
            hash.as_mut_slice(),
            memory.as_mut_slice(),
        )
        .map_err(|_| HashError::Library)?;
    Ok(hash)
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
        let mut found = |password| recipe.compare(password, &stored, &mut memory);
        assert_eq!(found("correct horse"), Ok(Found::Same));
        assert_eq!(found("correct horsf"), Ok(Found::Other));
        assert_ne!(recipe.hash("correct horse", &mut Vec::new()).unwrap(), stored);
    }

    #[test]
    fn the_same_keys_on_another_system_are_the_same_password() {
        let (recipe, mut memory) = (recipe(8, "pepper"), Vec::new());
        let stored = recipe.hash("Stra\u{df}e \u{e9}t\u{e9}", &mut memory).unwrap();
        let decomposed = "Stra\u{df}e e\u{301}te\u{301}";
        assert_eq!(recipe.compare(decomposed, &stored, &mut memory), Ok(Found::Same));
    }

    #[test]
    fn a_hash_of_an_older_recipe_is_outdated_when_it_matches() {
        let (old, new, mut memory) = (recipe(8, "pepper"), recipe(16, "pepper"), Vec::new());
        let stored = old.hash("correct horse", &mut memory).unwrap();
        assert_eq!(
            new.compare("correct horse", &stored, &mut memory),
            Ok(Found::Outdated)
        );
        assert_eq!(new.compare("wrong", &stored, &mut memory), Ok(Found::Other));
    }

    #[test]
    fn a_hash_by_bcrypt_is_of_what_was_typed_and_outdated() {
        let (recipe, mut memory) = (recipe(8, "pepper"), Vec::new());
        let typed = "e\u{301}te\u{301} a quartz lagoon";
        let stored = bcrypt::hash(typed, 4).unwrap();
        assert_eq!(recipe.compare(typed, &stored, &mut memory), Ok(Found::Outdated));
        assert_eq!(recipe.compare("another", &stored, &mut memory), Ok(Found::Other));
        let costly = stored.replacen("$04$", "$15$", 1);
        assert_eq!(
            recipe.compare(typed, &costly, &mut memory),
            Err(HashError::Stored)
        );
        assert_eq!(memory.len(), 0);
    }

    #[test]
    fn another_pepper_is_recognised_and_one_that_is_accepted_is_outdated() {
        let mut memory = Vec::new();
        let stored = recipe(8, "one").hash("p", &mut memory).unwrap();
        let two = recipe(8, "two");
        assert_eq!(two.compare("p", &stored, &mut memory), Err(HashError::Pepper));
        let both = two.accepting(b"three").accepting(b"one");
        assert_eq!(both.compare("p", &stored, &mut memory), Ok(Found::Outdated));
        assert_eq!(both.compare("q", &stored, &mut memory), Ok(Found::Other));
        let renewed = both.hash("p", &mut memory).unwrap();
        assert_eq!(
            recipe(8, "two").compare("p", &renewed, &mut memory),
            Ok(Found::Same)
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
