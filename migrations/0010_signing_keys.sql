-- Signing keys: rings, their keys from publication to retirement, and the record of what was done to them.
--
-- The control plane changes these tables in transactions that lock the ring's row first; every guard uses
-- clock_timestamp(), so the time of a transition is the database's. What must never happen is refused here as well:
-- two active keys, a state without its times, a transition backwards, a private part that comes back.

CREATE TABLE control.key_ring (
    ring       text        PRIMARY KEY CONSTRAINT key_ring_name_form CHECK (ring ~ '^[a-z][a-z0-9_]{0,31}$'),
    -- Grows in the same transaction as every change that verifiers must learn of.
    seq        bigint      NOT NULL DEFAULT 0 CONSTRAINT key_ring_seq_range CHECK (seq >= 0),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE control.signing_key (
    kid                text        PRIMARY KEY CONSTRAINT signing_key_kid_form CHECK (kid ~ '^[A-Za-z0-9_-]{43}$'), -- RFC 7638 thumbprint
    ring               text        NOT NULL REFERENCES control.key_ring,
    algorithm          text        NOT NULL CONSTRAINT signing_key_algorithm_known CHECK (algorithm IN ('EdDSA', 'ES256')),
    state              text        NOT NULL CONSTRAINT signing_key_state_known
                                   CHECK (state IN ('generated', 'published', 'active', 'retiring', 'retired', 'revoked')),
    public_key         bytea       NOT NULL,
    -- AES-256-GCM under the key-encryption key, bound to ring|kid|algorithm|kek_version: it opens in no other row.
    sealed_private_key bytea,
    kek_version        integer     NOT NULL CONSTRAINT signing_key_kek_version_range CHECK (kek_version >= 1),
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at       timestamptz,
    activated_at       timestamptz,
    retiring_at        timestamptz,
    sign_until         timestamptz,                     -- tokens issued later are not this key's
    verify_until       timestamptz,                     -- after this the key verifies nothing
    retired_at         timestamptz,
    revoked_at         timestamptz,
    CONSTRAINT signing_key_public_key_length
        CHECK (octet_length(public_key) = CASE algorithm WHEN 'EdDSA' THEN 32 ELSE 65 END),
    CONSTRAINT signing_key_published_when CHECK (state IN ('generated', 'revoked') OR published_at IS NOT NULL),
    CONSTRAINT signing_key_activated_when
        CHECK (CASE state WHEN 'generated' THEN activated_at IS NULL
                          WHEN 'published' THEN activated_at IS NULL
                          WHEN 'revoked'   THEN true
                          ELSE activated_at IS NOT NULL END),
    -- The three times of a retirement come together, and only once the key has been active.
    CONSTRAINT signing_key_retiring_when
        CHECK (CASE WHEN state IN ('retiring', 'retired') THEN num_nonnulls(retiring_at, sign_until, verify_until) = 3
                    WHEN state = 'revoked' THEN num_nonnulls(retiring_at, sign_until, verify_until) IN (0, 3)
                    ELSE num_nonnulls(retiring_at, sign_until, verify_until) = 0 END),
    CONSTRAINT signing_key_retirement_order CHECK (retiring_at <= sign_until AND sign_until <= verify_until),
    CONSTRAINT signing_key_retired_when CHECK ((state = 'retired') = (retired_at IS NOT NULL)),
    CONSTRAINT signing_key_revoked_when CHECK ((state = 'revoked') = (revoked_at IS NOT NULL)),
    -- A key that may have to sign has its private part; a key that is finished has none.
    CONSTRAINT signing_key_private_part_when
        CHECK (CASE WHEN state IN ('generated', 'published', 'active') THEN sealed_private_key IS NOT NULL
                    WHEN state IN ('retired', 'revoked') THEN sealed_private_key IS NULL
                    ELSE true END)
);
CREATE UNIQUE INDEX signing_key_one_active  ON control.signing_key (ring) WHERE state = 'active';
CREATE UNIQUE INDEX signing_key_one_standby ON control.signing_key (ring) WHERE state = 'published';
CREATE INDEX signing_key_ring ON control.signing_key (ring, state);

-- Who did what to which key, when. Append-only, as every audit record here.
CREATE TABLE control.audit_event (
    audit_event_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor          text        NOT NULL CONSTRAINT audit_event_actor_form CHECK (actor ~ '^[a-z-]+(:[A-Za-z0-9._@-]{1,64})?$'),
    action         text        NOT NULL CONSTRAINT audit_event_action_form CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
    ring           text        NOT NULL,
    kid            text        NOT NULL,
    request_id     text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON control.audit_event FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER audit_event_no_truncate BEFORE TRUNCATE ON control.audit_event FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
ALTER TABLE control.audit_event ENABLE ALWAYS TRIGGER audit_event_no_change;
ALTER TABLE control.audit_event ENABLE ALWAYS TRIGGER audit_event_no_truncate;

-- A key moves forwards only, and stays the key it is.
CREATE FUNCTION control.guard_signing_key() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (NEW.kid, NEW.ring, NEW.algorithm, NEW.public_key) IS DISTINCT FROM (OLD.kid, OLD.ring, OLD.algorithm, OLD.public_key) THEN
        RAISE EXCEPTION 'a signing key cannot become another key' USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.sealed_private_key IS NULL AND NEW.sealed_private_key IS NOT NULL THEN
        RAISE EXCEPTION 'a destroyed private key cannot come back' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('generated', 'published'), ('published', 'active'), ('active', 'retiring'), ('retiring', 'retired'),
        ('generated', 'revoked'), ('published', 'revoked'), ('active', 'revoked'), ('retiring', 'revoked'))
    THEN
        RAISE EXCEPTION 'a % key cannot become %', OLD.state, NEW.state USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER signing_key_guard BEFORE UPDATE ON control.signing_key FOR EACH ROW EXECUTE FUNCTION control.guard_signing_key();
-- The public part of every key there ever was is kept: an old signature must stay checkable.
CREATE TRIGGER signing_key_no_delete BEFORE DELETE ON control.signing_key FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER signing_key_no_truncate BEFORE TRUNCATE ON control.signing_key FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- Verifiers never go back to a smaller seq, so the ring may not either. Whoever waits for a change is told at commit.
CREATE FUNCTION control.announce_key_ring() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.seq < OLD.seq THEN
        RAISE EXCEPTION 'the seq of a key ring only grows' USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM pg_notify('portico_key_ring', NEW.ring);
    RETURN NEW;
END $$;
CREATE TRIGGER key_ring_announce BEFORE INSERT OR UPDATE ON control.key_ring FOR EACH ROW EXECUTE FUNCTION control.announce_key_ring();
CREATE TRIGGER key_ring_no_delete BEFORE DELETE ON control.key_ring FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();

-- What core-api signs with. It sees the sealed part of the active key and of no other: not the standby's.
CREATE VIEW control.active_signing_key AS
    SELECT ring, kid, algorithm, public_key, sealed_private_key, kek_version, activated_at
      FROM control.signing_key
     WHERE state = 'active';

REVOKE ALL ON control.key_ring, control.signing_key, control.audit_event, control.active_signing_key FROM PUBLIC;

GRANT SELECT, INSERT, UPDATE ON control.key_ring, control.signing_key TO portico_control;
GRANT SELECT, INSERT ON control.audit_event TO portico_control;

GRANT SELECT ON control.key_ring TO portico_core, portico_auditor;
GRANT SELECT ON control.active_signing_key TO portico_core;
GRANT SELECT (ring, kid, algorithm, state, public_key, kek_version, created_at, published_at, activated_at, retiring_at,
              sign_until, verify_until, retired_at, revoked_at)
    ON control.signing_key TO portico_core, portico_auditor;
GRANT SELECT ON control.audit_event TO portico_auditor;
