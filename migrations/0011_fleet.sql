-- The fleet: what was stated in each stream, which gateways there are, and what each of them really runs.
--
-- A statement is kept as the exact bytes that were signed. A gateway is known by the name in its certificate; it is live
-- while its last heartbeat is younger than 15 s by the database's clock.

CREATE TABLE control.fleet (
    -- One row. The epoch grows when the database was restored: positions that the lost part of its history had given away
    -- are not given again.
    is_only boolean PRIMARY KEY DEFAULT true CONSTRAINT fleet_one_row CHECK (is_only),
    epoch   bigint  NOT NULL DEFAULT 1 CONSTRAINT fleet_epoch_range CHECK (epoch BETWEEN 1 AND 1048576),
    -- The policy of every gateway that no roll-out has assigned another one.
    policy_epoch bigint,
    policy_seq   bigint,
    CONSTRAINT fleet_policy_whole CHECK (num_nonnulls(policy_epoch, policy_seq) IN (0, 2))
);
INSERT INTO control.fleet DEFAULT VALUES;

CREATE TABLE control.statement (
    stream     text        NOT NULL CONSTRAINT statement_stream_known CHECK (stream IN ('policy', 'keyset', 'revocations', 'blocks')),
    epoch      bigint      NOT NULL CONSTRAINT statement_epoch_range CHECK (epoch >= 1),
    seq        bigint      NOT NULL CONSTRAINT statement_seq_range CHECK (seq >= 1),
    digest     bytea       NOT NULL CONSTRAINT statement_digest_length CHECK (octet_length(digest) = 32),
    -- The seq of the ring or list whose content it states; 0 for a policy.
    source_seq bigint      NOT NULL DEFAULT 0 CONSTRAINT statement_source_range CHECK (source_seq >= 0),
    -- The key of the bundle ring that signed it.
    keyid      text        NOT NULL DEFAULT '',
    envelope   bytea       NOT NULL CONSTRAINT statement_envelope_length CHECK (octet_length(envelope) BETWEEN 1 AND 8388608),
    change_id  text        NOT NULL,
    author     text        NOT NULL,
    approvers  text[]      NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (stream, epoch, seq),
    CONSTRAINT statement_digest_once UNIQUE (digest),
    CONSTRAINT statement_expiry_order CHECK (created_at < expires_at)
);
CREATE TRIGGER statement_no_change BEFORE UPDATE ON control.statement FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
ALTER TABLE control.statement ENABLE ALWAYS TRIGGER statement_no_change;

-- The trust documents that the offline roots have signed, as exact bytes; the highest version is in force.
CREATE TABLE control.trust (
    version    bigint      PRIMARY KEY CONSTRAINT trust_version_range CHECK (version >= 1),
    envelope   bytea       NOT NULL CONSTRAINT trust_envelope_length CHECK (octet_length(envelope) BETWEEN 1 AND 65536),
    author     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER trust_no_change BEFORE UPDATE OR DELETE ON control.trust FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
ALTER TABLE control.trust ENABLE ALWAYS TRIGGER trust_no_change;

CREATE TABLE control.node (
    name              text        PRIMARY KEY CONSTRAINT node_name_form CHECK (name ~ '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$'),
    version           text,
    boot_id           text,
    first_seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_heartbeat_at timestamptz,
    -- Its clock minus the database's, at the last heartbeat.
    clock_offset_ms   bigint,
    -- The counters of the last heartbeat, as they came.
    traffic           jsonb,
    shadow            jsonb,
    -- An evicted gateway is told nothing and waited for by nobody, until it is let in again.
    evicted_at        timestamptz
);

CREATE TABLE control.node_stream (
    node           text   NOT NULL REFERENCES control.node ON DELETE CASCADE,
    stream         text   NOT NULL CONSTRAINT node_stream_known CHECK (stream IN ('policy', 'keyset', 'revocations', 'blocks')),
    -- What it was told to hold.
    assigned_epoch bigint,
    assigned_seq   bigint,
    assigned_shadow boolean NOT NULL DEFAULT false,
    assigned_at    timestamptz,
    -- What is in force in its memory, by its last heartbeat or acknowledgement.
    active_epoch   bigint,
    active_seq     bigint,
    active_digest  bytea,
    fingerprint    text,
    active_at      timestamptz,
    -- What it said last of a statement.
    stage          text CONSTRAINT node_stream_stage_known CHECK (stage IN ('received', 'verified', 'active', 'healthy', 'refused')),
    stage_epoch    bigint,
    stage_seq      bigint,
    -- Whether it was only to be tried.
    stage_shadow   boolean NOT NULL DEFAULT false,
    stage_at       timestamptz,
    objection      jsonb,
    PRIMARY KEY (node, stream),
    CONSTRAINT node_stream_assigned_whole CHECK (num_nonnulls(assigned_epoch, assigned_seq) IN (0, 2)),
    CONSTRAINT node_stream_active_whole CHECK (num_nonnulls(active_epoch, active_seq) IN (0, 2)),
    CONSTRAINT node_stream_stage_whole CHECK (num_nonnulls(stage, stage_epoch, stage_seq, stage_at) IN (0, 4)),
    CONSTRAINT node_stream_objection_when CHECK ((stage = 'refused') = (objection IS NOT NULL))
);

-- The gateways that a rotation waits for.
CREATE VIEW control.live_node AS
    SELECT name, last_heartbeat_at
      FROM control.node
     WHERE evicted_at IS NULL AND last_heartbeat_at > clock_timestamp() - interval '15 seconds';

-- Whoever streams to gateways is told at commit of what they must learn of.
CREATE FUNCTION control.announce_fleet() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('portico_fleet', TG_TABLE_NAME);
    RETURN NULL;
END $$;
CREATE TRIGGER statement_announce AFTER INSERT ON control.statement FOR EACH STATEMENT EXECUTE FUNCTION control.announce_fleet();
CREATE TRIGGER trust_announce AFTER INSERT ON control.trust FOR EACH STATEMENT EXECUTE FUNCTION control.announce_fleet();
CREATE TRIGGER fleet_announce AFTER UPDATE ON control.fleet FOR EACH STATEMENT EXECUTE FUNCTION control.announce_fleet();
CREATE TRIGGER node_announce AFTER UPDATE OF evicted_at ON control.node FOR EACH STATEMENT EXECUTE FUNCTION control.announce_fleet();
CREATE TRIGGER node_stream_announce AFTER UPDATE OF assigned_epoch, assigned_seq, assigned_shadow ON control.node_stream
    FOR EACH STATEMENT EXECUTE FUNCTION control.announce_fleet();

REVOKE ALL ON control.fleet, control.statement, control.trust, control.node, control.node_stream, control.live_node FROM PUBLIC;
GRANT SELECT, UPDATE ON control.fleet TO portico_control;
GRANT SELECT, INSERT, DELETE ON control.statement TO portico_control;
GRANT SELECT, INSERT ON control.trust TO portico_control;
GRANT SELECT, INSERT, UPDATE, DELETE ON control.node, control.node_stream TO portico_control;
GRANT SELECT ON control.live_node TO portico_control;
GRANT SELECT ON control.fleet, control.statement, control.trust, control.node, control.node_stream, control.live_node TO portico_auditor;
