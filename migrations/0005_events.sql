-- What happened: for other systems (outbox) and for auditors. Both are append-only, as the ledger is.

-- Consumers read behind a fence, xid < pg_snapshot_xmin(pg_current_snapshot()): identity order is not commit order (I14).
CREATE TABLE core.outbox_event (
    outbox_event_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       bigint      NOT NULL,
    kind            text        NOT NULL CONSTRAINT outbox_event_kind_form CHECK (kind ~ '^[a-z_]+\.[a-z_]+$'),
    subject_id      uuid        NOT NULL,
    payload         jsonb       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    xid             xid8        NOT NULL DEFAULT pg_current_xact_id()
);

CREATE TABLE core.audit_event (
    audit_event_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id      bigint,
    actor_id       uuid,                                 -- the user; NULL when nobody is known
    session_id     uuid,
    action         text        NOT NULL CONSTRAINT audit_event_action_form CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
    object_id      uuid,
    outcome        text        NOT NULL CONSTRAINT audit_event_outcome_form CHECK (outcome ~ '^[a-z_]+$'),
    request_id     text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TRIGGER outbox_event_no_change BEFORE UPDATE OR DELETE ON core.outbox_event FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER outbox_event_no_truncate BEFORE TRUNCATE ON core.outbox_event FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON core.audit_event FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER audit_event_no_truncate BEFORE TRUNCATE ON core.audit_event FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
ALTER TABLE core.outbox_event ENABLE ALWAYS TRIGGER outbox_event_no_change;
ALTER TABLE core.outbox_event ENABLE ALWAYS TRIGGER outbox_event_no_truncate;
ALTER TABLE core.audit_event ENABLE ALWAYS TRIGGER audit_event_no_change;
ALTER TABLE core.audit_event ENABLE ALWAYS TRIGGER audit_event_no_truncate;

ALTER TABLE core.outbox_event ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.outbox_event FORCE ROW LEVEL SECURITY;
ALTER TABLE core.audit_event  ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.audit_event  FORCE ROW LEVEL SECURITY;
CREATE POLICY outbox_event_definer ON core.outbox_event TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY audit_event_definer  ON core.audit_event  TO portico_owner USING (true) WITH CHECK (true);

REVOKE ALL ON core.outbox_event, core.audit_event FROM PUBLIC;
GRANT SELECT ON core.outbox_event, core.audit_event TO portico_auditor;
