-- Key rings: every ring there is, the whole life of a key, what gateways hold of a ring, who tries what is due, and the
-- versions of the key-encryption key.

ALTER TABLE control.key_ring ADD CONSTRAINT key_ring_known CHECK (ring IN ('access', 'stepup', 'bundle', 'audit', 'webhook'));

-- The whole life of a key. --------------------------------------------------------------------------------------------

ALTER TABLE control.signing_key
    -- The key of this row alone, wrapped by the key-encryption key; the private part is sealed under it. Without one the
    -- private part is sealed under the key-encryption key itself, as it was before.
    ADD COLUMN wrapped_data_key bytea,
    -- The seq of the ring that told verifiers of the key: who holds this one or a later one knows it.
    ADD COLUMN published_seq bigint,
    -- When a retiring key was called back; it is published again, and signs again once every guard has let it.
    ADD COLUMN reinstated_at timestamptz,
    ADD COLUMN aborted_at timestamptz;
-- When these keys were told of is not known; what is held now tells of all of them.
UPDATE control.signing_key SET published_seq = key_ring.seq
  FROM control.key_ring WHERE key_ring.ring = signing_key.ring AND published_at IS NOT NULL;

ALTER TABLE control.signing_key
    DROP CONSTRAINT signing_key_state_known,
    DROP CONSTRAINT signing_key_published_when,
    DROP CONSTRAINT signing_key_activated_when,
    DROP CONSTRAINT signing_key_private_part_when,
    ADD CONSTRAINT signing_key_state_known
        CHECK (state IN ('generated', 'published', 'active', 'retiring', 'retired', 'aborted', 'revoked')),
    ADD CONSTRAINT signing_key_published_when CHECK (state IN ('generated', 'aborted', 'revoked') OR published_at IS NOT NULL),
    ADD CONSTRAINT signing_key_published_whole CHECK ((published_at IS NULL) = (published_seq IS NULL)),
    ADD CONSTRAINT signing_key_activated_when
        CHECK (CASE WHEN state IN ('generated', 'published', 'aborted') THEN activated_at IS NULL
                    WHEN state = 'revoked' THEN true
                    ELSE activated_at IS NOT NULL END),
    -- What has signed may verify tokens still: it retires or is revoked, and is not set aside.
    ADD CONSTRAINT signing_key_reinstated_when CHECK (reinstated_at IS NULL OR state NOT IN ('generated', 'aborted')),
    ADD CONSTRAINT signing_key_aborted_when CHECK ((state = 'aborted') = (aborted_at IS NOT NULL)),
    ADD CONSTRAINT signing_key_private_part_when
        CHECK (CASE WHEN state IN ('generated', 'published', 'active') THEN sealed_private_key IS NOT NULL
                    WHEN state IN ('retired', 'aborted', 'revoked') THEN sealed_private_key IS NULL
                    ELSE true END),
    ADD CONSTRAINT signing_key_data_key_when CHECK (wrapped_data_key IS NULL OR sealed_private_key IS NOT NULL),
    -- The trust document of gateways knows Ed25519 alone.
    ADD CONSTRAINT signing_key_bundle_algorithm CHECK (ring <> 'bundle' OR algorithm = 'EdDSA');

-- One standby, and beside it one key at most that was called back.
DROP INDEX control.signing_key_one_standby;
CREATE UNIQUE INDEX signing_key_one_standby    ON control.signing_key (ring) WHERE state = 'published' AND reinstated_at IS NULL;
CREATE UNIQUE INDEX signing_key_one_reinstated ON control.signing_key (ring) WHERE state = 'published' AND reinstated_at IS NOT NULL;
CREATE INDEX signing_key_sealed_under ON control.signing_key (kek_version, kid) WHERE sealed_private_key IS NOT NULL;

CREATE OR REPLACE FUNCTION control.guard_signing_key() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (NEW.kid, NEW.ring, NEW.algorithm, NEW.public_key) IS DISTINCT FROM (OLD.kid, OLD.ring, OLD.algorithm, OLD.public_key) THEN
        RAISE EXCEPTION 'a signing key cannot become another key' USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.sealed_private_key IS NULL AND NEW.sealed_private_key IS NOT NULL THEN
        RAISE EXCEPTION 'a destroyed private key cannot come back' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('generated', 'published'), ('published', 'active'), ('active', 'retiring'), ('retiring', 'retired'),
        ('retiring', 'published'), ('generated', 'aborted'), ('published', 'aborted'),
        ('generated', 'revoked'), ('published', 'revoked'), ('active', 'revoked'), ('retiring', 'revoked'))
    THEN
        RAISE EXCEPTION 'a % key cannot become %', OLD.state, NEW.state USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.state = 'retiring' AND NEW.state = 'published' AND NEW.reinstated_at IS NULL THEN
        RAISE EXCEPTION 'a retiring key is published again only where it is reinstated' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

-- Why a person did it, in their words.
ALTER TABLE control.audit_event ADD COLUMN reason text CONSTRAINT audit_event_reason_length CHECK (length(reason) BETWEEN 1 AND 500);
CREATE INDEX audit_event_of_ring ON control.audit_event (ring, audit_event_id);

-- What gateways hold. -------------------------------------------------------------------------------------------------

-- A statement of the stream `keyset` says which seq of the ring `access` it tells of.
ALTER TABLE control.statement
    ADD COLUMN ring_seq bigint,
    ADD CONSTRAINT statement_ring_seq_when CHECK ((stream = 'keyset') = (ring_seq IS NOT NULL));

-- The live gateways that do not hold this seq of a ring, or a later one. Gateways verify with the ring `access` alone.
CREATE FUNCTION control.gateways_behind(of_ring text, wanted_seq bigint) RETURNS SETOF text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT live_node.name
      FROM control.live_node
     WHERE of_ring = 'access'
       AND NOT EXISTS (SELECT FROM control.node_stream held
                         JOIN control.statement ON statement.stream = held.stream
                                               AND statement.epoch = held.active_epoch AND statement.seq = held.active_seq
                        WHERE held.node = live_node.name AND held.stream = 'keyset' AND statement.ring_seq >= wanted_seq)
     ORDER BY 1
$$;

-- Who tries what is due. ----------------------------------------------------------------------------------------------

-- Every step is a compare-and-set and harmless when two try it; the lease saves the second one the trouble. Whoever takes
-- it gets a larger epoch, and a writing transaction checks that this epoch is still the last one given.
CREATE TABLE control.lease (
    purpose    text        PRIMARY KEY CONSTRAINT lease_purpose_form CHECK (purpose ~ '^[a-z-]{1,32}$'),
    epoch      bigint      NOT NULL CONSTRAINT lease_epoch_range CHECK (epoch >= 1),
    expires_at timestamptz NOT NULL
);
CREATE FUNCTION control.guard_lease() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.epoch < OLD.epoch THEN
        RAISE EXCEPTION 'the epoch of a lease only grows' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lease_guard BEFORE UPDATE ON control.lease FOR EACH ROW EXECUTE FUNCTION control.guard_lease();

-- The versions of the key-encryption key. -------------------------------------------------------------------------------

CREATE TABLE control.kek (
    version     integer     PRIMARY KEY CONSTRAINT kek_version_range CHECK (version >= 1),
    state       text        NOT NULL CONSTRAINT kek_state_known CHECK (state IN ('active', 'retiring', 'retired')),
    -- A known text sealed under it: a process whose secret is another one finds out when it starts.
    check_value bytea,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    retiring_at timestamptz,
    retired_at  timestamptz,
    CONSTRAINT kek_retiring_when CHECK ((state = 'active') = (retiring_at IS NULL)),
    CONSTRAINT kek_retired_when CHECK ((state = 'retired') = (retired_at IS NOT NULL))
);
-- The active version seals; every version that is not retired opens.
CREATE UNIQUE INDEX kek_one_active ON control.kek (state) WHERE state = 'active';
INSERT INTO control.kek (version, state, retiring_at)
SELECT version, CASE WHEN version = max(version) OVER () THEN 'active' ELSE 'retiring' END,
       CASE WHEN version = max(version) OVER () THEN NULL ELSE clock_timestamp() END
  FROM (SELECT DISTINCT kek_version AS version FROM control.signing_key WHERE sealed_private_key IS NOT NULL) AS used;

-- A version moves forwards only, is retired when nothing is sealed under it, and seals nothing more then. Whoever seals
-- holds the version's row until commit, so that the two cannot pass each other.
CREATE FUNCTION control.guard_kek() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.version <> OLD.version THEN
        RAISE EXCEPTION 'a key-encryption key keeps its version' USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.check_value IS NOT NULL AND NEW.check_value IS DISTINCT FROM OLD.check_value THEN
        RAISE EXCEPTION 'a version of the key-encryption key cannot become another key' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (('active', 'retiring'), ('retiring', 'retired')) THEN
        RAISE EXCEPTION 'a % version of the key-encryption key cannot become %', OLD.state, NEW.state
              USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.state = 'retired' AND EXISTS (SELECT FROM control.signing_key
                                          WHERE kek_version = NEW.version AND sealed_private_key IS NOT NULL) THEN
        RAISE EXCEPTION 'private keys are sealed under version % still', NEW.version USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER kek_guard BEFORE UPDATE ON control.kek FOR EACH ROW EXECUTE FUNCTION control.guard_kek();
CREATE TRIGGER kek_no_delete BEFORE DELETE ON control.kek FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER kek_no_truncate BEFORE TRUNCATE ON control.kek FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

CREATE FUNCTION control.guard_sealing() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    state_of_version text;
BEGIN
    SELECT state INTO state_of_version FROM control.kek WHERE version = NEW.kek_version FOR SHARE;
    IF state_of_version = 'retired' THEN
        RAISE EXCEPTION 'version % of the key-encryption key is retired', NEW.kek_version USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER signing_key_sealed BEFORE INSERT ON control.signing_key FOR EACH ROW
    WHEN (NEW.sealed_private_key IS NOT NULL) EXECUTE FUNCTION control.guard_sealing();
CREATE TRIGGER signing_key_sealed_again BEFORE UPDATE OF sealed_private_key, wrapped_data_key, kek_version ON control.signing_key
    FOR EACH ROW WHEN (NEW.sealed_private_key IS NOT NULL) EXECUTE FUNCTION control.guard_sealing();

-- What core-api signs with, and whether its key-encryption keys are the right ones. --------------------------------------

CREATE OR REPLACE VIEW control.active_signing_key AS
    SELECT ring, kid, algorithm, public_key, sealed_private_key, kek_version, activated_at, wrapped_data_key
      FROM control.signing_key
     WHERE state = 'active' AND ring IN ('access', 'stepup');

REVOKE ALL ON control.lease, control.kek FROM PUBLIC;
REVOKE ALL ON FUNCTION control.gateways_behind(text, bigint) FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE ON control.lease, control.kek TO portico_control;
GRANT EXECUTE ON FUNCTION control.gateways_behind(text, bigint) TO portico_control;
GRANT SELECT ON control.kek TO portico_core, portico_auditor;
GRANT SELECT (published_seq, reinstated_at, aborted_at) ON control.signing_key TO portico_core, portico_auditor;
