-- Roll-outs: which policy goes to which gateways, how far it is, and what they have served with it and without it.
--
-- Whoever changes these tables holds the row of control.fleet: a step of a roll-out is one transaction, and two control
-- planes never take the same one. A roll-out that is over is history: nothing of it changes any more.

CREATE TABLE control.rollout (
    change_id      text        PRIMARY KEY CONSTRAINT rollout_change_id_form CHECK (change_id ~ '^[A-Za-z0-9][A-Za-z0-9._:/#@-]{0,127}$'),
    kind           text        NOT NULL CONSTRAINT rollout_kind_known CHECK (kind IN ('publish', 'rollback')),
    -- SHA-256 of the files and cases, as approvals name them.
    content        bytea       NOT NULL CONSTRAINT rollout_content_length CHECK (octet_length(content) = 32),
    stream         text        NOT NULL DEFAULT 'policy' CONSTRAINT rollout_stream_policy CHECK (stream = 'policy'),
    -- What goes out.
    epoch          bigint      NOT NULL,
    seq            bigint      NOT NULL,
    -- What was in force for all when it began; none before the first.
    old_epoch      bigint,
    old_seq        bigint,
    -- What the gateways that had it were given when it was halted: a new position with the old content.
    back_epoch     bigint,
    back_seq       bigint,
    author         text        NOT NULL,
    approvers      text[]      NOT NULL DEFAULT '{}',
    risk           text        CONSTRAINT rollout_risk_known CHECK (risk IN ('info', 'low', 'medium', 'high', 'critical')),
    phases         text[]      NOT NULL CONSTRAINT rollout_phases_known
                               CHECK (phases <@ ARRAY['shadow', 'canary', 'quarter', 'all'] AND phases[cardinality(phases)] = 'all'),
    rules          jsonb       NOT NULL,
    phase          text        NOT NULL CONSTRAINT rollout_phase_known
                               CHECK (phase IN ('shadow', 'canary', 'quarter', 'all', 'done', 'halted')),
    phase_since    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- How long a control plane has really watched this phase, since when without a gap, and when it looked last.
    watched_ms     bigint      NOT NULL DEFAULT 0 CONSTRAINT rollout_watched_range CHECK (watched_ms >= 0),
    watching_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    looked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- What gateways served with the old policy before this phase.
    before         jsonb       NOT NULL,
    -- Why it was halted.
    why            text        CONSTRAINT rollout_why_length CHECK (octet_length(why) <= 16384),
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at       timestamptz,
    FOREIGN KEY (stream, epoch, seq) REFERENCES control.statement (stream, epoch, seq),
    FOREIGN KEY (stream, old_epoch, old_seq) REFERENCES control.statement (stream, epoch, seq),
    FOREIGN KEY (stream, back_epoch, back_seq) REFERENCES control.statement (stream, epoch, seq),
    CONSTRAINT rollout_old_whole CHECK (num_nonnulls(old_epoch, old_seq) IN (0, 2)),
    CONSTRAINT rollout_back_whole CHECK (num_nonnulls(back_epoch, back_seq) IN (0, 2)),
    CONSTRAINT rollout_back_when CHECK (back_epoch IS NULL OR phase = 'halted'),
    CONSTRAINT rollout_why_when CHECK ((why IS NOT NULL) = (phase = 'halted')),
    CONSTRAINT rollout_ended_when CHECK ((ended_at IS NOT NULL) = (phase IN ('done', 'halted')))
);
-- One at a time.
CREATE UNIQUE INDEX rollout_one_under_way ON control.rollout ((true)) WHERE phase NOT IN ('done', 'halted');
CREATE INDEX rollout_created ON control.rollout (created_at);

CREATE FUNCTION control.refuse_ended_rollout() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.phase IN ('done', 'halted') THEN
        RAISE EXCEPTION 'a roll-out that is over does not change' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER rollout_over_is_over BEFORE UPDATE ON control.rollout FOR EACH ROW EXECUTE FUNCTION control.refuse_ended_rollout();
ALTER TABLE control.rollout ENABLE ALWAYS TRIGGER rollout_over_is_over;

CREATE TABLE control.rollout_node (
    change_id text    NOT NULL REFERENCES control.rollout,
    node      text    NOT NULL REFERENCES control.node ON DELETE CASCADE,
    -- Whether it has the new policy in this phase.
    in_group  boolean NOT NULL,
    -- What it has served since the phase began, and the counters up to which that is counted.
    served    jsonb   NOT NULL,
    counted   jsonb,
    boot_id   text,
    PRIMARY KEY (change_id, node)
);

REVOKE ALL ON control.rollout, control.rollout_node FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE ON control.rollout, control.rollout_node TO portico_control;
GRANT SELECT ON control.rollout, control.rollout_node TO portico_auditor;
