-- The queue of mails. A mail is put into the queue by the transaction that it speaks of, and sent by whichever core-api
-- takes it first.
--
-- Whom it goes to and what it says is sealed by core-api and is gone once the mail is sent. The key of the recipient, a
-- keyed hash of the address, is there to count how many mails an address got.

CREATE TABLE core.mail_job (
    mail_job_id   uuid        PRIMARY KEY,               -- the Message-ID is made of it: a second copy has the same
    kind          text        NOT NULL CONSTRAINT mail_job_kind_form CHECK (kind ~ '^[a-z_]+$'),
    recipient_key bytea       NOT NULL CONSTRAINT mail_job_recipient_key_length CHECK (octet_length(recipient_key) = 32),
    sealed        bytea,
    state         text        NOT NULL DEFAULT 'waiting'
                              CONSTRAINT mail_job_state_known CHECK (state IN ('waiting', 'sent', 'dropped', 'dead')),
    tries         int         NOT NULL DEFAULT 0 CONSTRAINT mail_job_tries_range CHECK (tries >= 0),
    due_at        timestamptz NOT NULL,                  -- while a lease is out: when it ends
    lease         uuid,                                  -- of the try under way, and nobody else's
    fault         text        CONSTRAINT mail_job_fault_form CHECK (fault ~ '^[a-z0-9_]{1,40}$'),
    created_at    timestamptz NOT NULL,
    settled_at    timestamptz,
    CONSTRAINT mail_job_settled_when CHECK ((state = 'waiting') = (settled_at IS NULL)),
    -- A dead letter can be tried again; what was sent is not kept.
    CONSTRAINT mail_job_sealed_while CHECK ((state IN ('waiting', 'dead')) = (sealed IS NOT NULL))
);
CREATE INDEX mail_job_due ON core.mail_job (due_at) WHERE state = 'waiting';
CREATE INDEX mail_job_of_recipient ON core.mail_job (recipient_key, kind, created_at);
CREATE INDEX mail_job_settled ON core.mail_job (settled_at) WHERE state <> 'waiting';
CREATE INDEX mail_job_dead ON core.mail_job (created_at) WHERE state = 'dead';

-- Puts a mail into the queue. False, and nothing happens, when the address had one of this kind less than p_gap_s ago, or
-- p_per_day within a day. NULL: no limit.
CREATE FUNCTION core.enqueue_mail(
    p_job uuid, p_kind text, p_recipient_key bytea, p_sealed bytea, p_gap_s int, p_per_day int)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz;
BEGIN
    -- One at a time for each address and kind, or two would both find room. What has no limit waits for nobody: it is put
    -- into the queue by transactions that hold a user already.
    IF p_gap_s IS NOT NULL OR p_per_day IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended(p_kind || encode(p_recipient_key, 'hex'), 0));
    END IF;
    v_now := clock_timestamp();
    IF EXISTS (SELECT FROM core.mail_job j
                WHERE j.recipient_key = p_recipient_key AND j.kind = p_kind AND j.created_at > v_now - make_interval(secs => p_gap_s))
       OR p_per_day <= (SELECT count(*) FROM core.mail_job j
                         WHERE j.recipient_key = p_recipient_key AND j.kind = p_kind AND j.created_at > v_now - interval '1 day') THEN
        RETURN false;
    END IF;
    INSERT INTO core.mail_job (mail_job_id, kind, recipient_key, sealed, due_at, created_at)
    VALUES (p_job, p_kind, p_recipient_key, p_sealed, v_now, v_now);
    RETURN true;
END $$;

-- Takes the mail that has been due for longest, for p_lease_s: whoever is killed meanwhile loses the lease, and another
-- tries again. What died with each of its p_max_tries holders is a dead letter.
CREATE FUNCTION core.take_mail(p_lease uuid, p_lease_s int, p_max_tries int)
RETURNS TABLE (mail_job_id uuid, kind text, sealed bytea, tries int, created_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    UPDATE core.mail_job j SET state = 'dead', settled_at = v_now, lease = NULL, fault = coalesce(j.fault, 'abandoned')
     WHERE j.mail_job_id IN (SELECT d.mail_job_id FROM core.mail_job d
                              WHERE d.state = 'waiting' AND d.due_at <= v_now AND d.tries >= p_max_tries
                              LIMIT 100 FOR UPDATE SKIP LOCKED);
    RETURN QUERY
    UPDATE core.mail_job j SET lease = p_lease, due_at = v_now + make_interval(secs => p_lease_s), tries = j.tries + 1
     WHERE j.mail_job_id = (SELECT d.mail_job_id FROM core.mail_job d
                             WHERE d.state = 'waiting' AND d.due_at <= v_now AND d.tries < p_max_tries
                             ORDER BY d.due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING j.mail_job_id, j.kind, j.sealed, j.tries, j.created_at;
END $$;

-- The try is over: the mail is `sent`, `dropped` because nobody needs it any more, or `dead`. False when the lease is not
-- this one any more.
CREATE FUNCTION core.settle_mail(p_job uuid, p_lease uuid, p_state text, p_fault text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE core.mail_job j
       SET state = p_state, settled_at = clock_timestamp(), lease = NULL, fault = p_fault,
           sealed = CASE WHEN p_state = 'dead' THEN j.sealed END
     WHERE j.mail_job_id = p_job AND j.lease = p_lease AND j.state = 'waiting';
    RETURN FOUND;
END $$;

-- The try has failed: the next is due in p_delay_ms.
CREATE FUNCTION core.defer_mail(p_job uuid, p_lease uuid, p_delay_ms bigint, p_fault text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE core.mail_job j
       SET due_at = clock_timestamp() + p_delay_ms * interval '1 millisecond', lease = NULL, fault = p_fault
     WHERE j.mail_job_id = p_job AND j.lease = p_lease AND j.state = 'waiting';
    RETURN FOUND;
END $$;

-- How many mails wait, since when the oldest does, and how many are dead letters.
CREATE FUNCTION core.mail_backlog()
RETURNS TABLE (waiting bigint, oldest_s bigint, dead bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT w.waiting, coalesce(extract(epoch FROM clock_timestamp() - w.oldest), 0)::bigint,
           (SELECT count(*) FROM core.mail_job d WHERE d.state = 'dead')
      FROM (SELECT count(*) AS waiting, min(j.created_at) AS oldest FROM core.mail_job j WHERE j.state = 'waiting') w
$$;

-- Removes what was settled more than seven days ago, dead letters with it, at most p_limit rows.
CREATE FUNCTION core.purge_mail(p_limit int)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count bigint;
BEGIN
    DELETE FROM core.mail_job j
     WHERE j.mail_job_id IN (SELECT d.mail_job_id FROM core.mail_job d
                              WHERE d.state <> 'waiting' AND d.settled_at < clock_timestamp() - interval '7 days'
                              LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- Lets dead letters that are younger than p_within be tried again, from the first try on. For the owner alone. Gives how many.
CREATE FUNCTION core.retry_dead_mail(p_within interval)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count bigint;
BEGIN
    UPDATE core.mail_job j SET state = 'waiting', settled_at = NULL, tries = 0, due_at = clock_timestamp()
     WHERE j.state = 'dead' AND j.created_at > clock_timestamp() - p_within;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

ALTER TABLE core.mail_job ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.mail_job FORCE ROW LEVEL SECURITY;
CREATE POLICY mail_job_definer ON core.mail_job TO portico_owner USING (true) WITH CHECK (true);

REVOKE ALL ON core.mail_job FROM PUBLIC;
GRANT SELECT (mail_job_id, kind, state, tries, due_at, fault, created_at, settled_at) ON core.mail_job TO portico_auditor;
REVOKE ALL ON FUNCTION core.enqueue_mail, core.take_mail, core.settle_mail, core.defer_mail, core.mail_backlog, core.purge_mail,
    core.retry_dead_mail FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.enqueue_mail, core.take_mail, core.settle_mail, core.defer_mail, core.mail_backlog, core.purge_mail
    TO portico_core;
