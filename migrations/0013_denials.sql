-- What is no longer good although nothing in a token shows it, and the networks that are blocked.
--
-- Two lists. Every change of one raises its seq and is announced, whoever makes it: the triggers do it, in the
-- transaction of the change. A holder compares the seq and never goes back to a smaller one.

CREATE TABLE control.denial_list (
    list         text   PRIMARY KEY CONSTRAINT denial_list_known CHECK (list IN ('revocations', 'blocks')),
    seq          bigint NOT NULL DEFAULT 0 CONSTRAINT denial_list_seq_range CHECK (seq >= 0),
    entries      bigint NOT NULL DEFAULT 0,
    -- Together no more than every gateway holds: 20,000 (keyring::MAX_REVOCATIONS).
    most_entries bigint NOT NULL,
    CONSTRAINT denial_list_room CHECK (entries BETWEEN 0 AND most_entries)
);
INSERT INTO control.denial_list (list, most_entries) VALUES ('revocations', 15000), ('blocks', 5000);

CREATE TABLE control.revocation (
    revocation_id bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT revocation_id_once UNIQUE,
    kind          text        NOT NULL CONSTRAINT revocation_kind_known
                              CHECK (kind IN ('token', 'session', 'subject', 'client', 'key')),
    issuer        text        NOT NULL CONSTRAINT revocation_issuer_length CHECK (octet_length(issuer) BETWEEN 1 AND 512),
    -- The jti, sid, sub, client_id or kid.
    name          text        NOT NULL CONSTRAINT revocation_name_length CHECK (octet_length(name) BETWEEN 1 AND 512),
    -- The last iat that is meant, of a subject or a client; they get new tokens afterwards.
    issued_until  timestamptz,
    -- When the last token that is meant has expired by itself.
    until         timestamptz NOT NULL,
    reason        text        NOT NULL CONSTRAINT revocation_reason_length CHECK (octet_length(reason) <= 512),
    author        text        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT revocation_pkey PRIMARY KEY (kind, issuer, name),
    CONSTRAINT revocation_issued_until_when CHECK ((kind IN ('subject', 'client')) = (issued_until IS NOT NULL))
);
CREATE INDEX revocation_until ON control.revocation (until);

CREATE TABLE control.block (
    -- Shorter prefixes are most of the internet: a slip of a finger, not a block.
    network    cidr        PRIMARY KEY
                           CONSTRAINT block_prefix_range CHECK (masklen(network) >= CASE family(network) WHEN 4 THEN 8 ELSE 16 END),
    until      timestamptz NOT NULL,
    reason     text        NOT NULL CONSTRAINT block_reason_length CHECK (octet_length(reason) <= 512),
    author     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX block_until ON control.block (until);

-- Who revoked, blocked, evicted, trusted what, when; and who took it back. Append-only.
CREATE TABLE control.fleet_event (
    fleet_event_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor          text        NOT NULL CONSTRAINT fleet_event_actor_form CHECK (actor ~ '^[a-z-]+(:[A-Za-z0-9._@-]{1,64})?$'),
    action         text        NOT NULL CONSTRAINT fleet_event_action_form CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
    subject        text        NOT NULL CONSTRAINT fleet_event_subject_length CHECK (octet_length(subject) BETWEEN 1 AND 1200),
    request_id     text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER fleet_event_no_change BEFORE UPDATE OR DELETE ON control.fleet_event FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER fleet_event_no_truncate BEFORE TRUNCATE ON control.fleet_event FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
ALTER TABLE control.fleet_event ENABLE ALWAYS TRIGGER fleet_event_no_change;
ALTER TABLE control.fleet_event ENABLE ALWAYS TRIGGER fleet_event_no_truncate;

-- Its own rights: whoever may change an entry need not be able to change a seq.
CREATE FUNCTION control.note_denials() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rows bigint;
BEGIN
    SELECT count(*) INTO rows FROM changed;
    IF rows > 0 THEN
        UPDATE control.denial_list
           SET seq = seq + 1,
               entries = entries + CASE TG_OP WHEN 'INSERT' THEN rows WHEN 'DELETE' THEN -rows ELSE 0 END
         WHERE list = TG_ARGV[0];
        PERFORM pg_notify('portico_fleet', TG_ARGV[0]);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER revocation_added AFTER INSERT ON control.revocation REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION control.note_denials('revocations');
CREATE TRIGGER revocation_widened AFTER UPDATE ON control.revocation REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION control.note_denials('revocations');
CREATE TRIGGER revocation_removed AFTER DELETE ON control.revocation REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION control.note_denials('revocations');
CREATE TRIGGER block_added AFTER INSERT ON control.block REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION control.note_denials('blocks');
CREATE TRIGGER block_changed AFTER UPDATE ON control.block REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION control.note_denials('blocks');
CREATE TRIGGER block_removed AFTER DELETE ON control.block REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION control.note_denials('blocks');

-- The one way to revoke, for the control plane and for core-api. Twice is once: of two entries about one thing the wider
-- counts, and one that adds nothing changes nothing. Gives the id of the entry.
CREATE FUNCTION control.revoke(
    p_kind text, p_issuer text, p_name text, p_issued_until timestamptz, p_until timestamptz, p_reason text, p_author text)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO control.revocation AS known (kind, issuer, name, issued_until, until, reason, author)
    VALUES (p_kind, p_issuer, p_name, p_issued_until, p_until, p_reason, p_author)
    ON CONFLICT ON CONSTRAINT revocation_pkey DO UPDATE
       SET issued_until = greatest(known.issued_until, excluded.issued_until), until = greatest(known.until, excluded.until)
     WHERE excluded.until > known.until OR excluded.issued_until > known.issued_until;
    RETURN (SELECT revocation_id FROM control.revocation
             WHERE (kind, issuer, name) = (p_kind, p_issuer, p_name));
END $$;

REVOKE ALL ON control.denial_list, control.revocation, control.block, control.fleet_event FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.revoke TO portico_control, portico_core;
GRANT SELECT ON control.denial_list TO portico_control, portico_auditor;
GRANT SELECT, DELETE ON control.revocation TO portico_control;
GRANT SELECT, INSERT, UPDATE, DELETE ON control.block TO portico_control;
GRANT SELECT, INSERT ON control.fleet_event TO portico_control;
GRANT SELECT ON control.revocation, control.block, control.fleet_event TO portico_auditor;
