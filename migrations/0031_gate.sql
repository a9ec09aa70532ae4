-- The gate that every verification of a password passes. How guesses are counted stands in crates/lockout; here is where the
-- counters are kept and the devices that their owners signed in with before.

-- A key is an HMAC-SHA-256 under the pepper: nobody learns a name or an address from it, also not one that was typed into the
-- wrong field. A name that nobody has is counted as any other.
CREATE TABLE core.gate_counter (
    key        bytea       PRIMARY KEY CONSTRAINT gate_counter_key_length CHECK (octet_length(key) = 32),
    kind       text        NOT NULL CONSTRAINT gate_counter_kind_known CHECK (kind IN ('name', 'pair', 'device', 'network')),
    state      jsonb       NOT NULL DEFAULT '{}',
    -- Afterwards it says nothing, and may be removed.
    expires_at timestamptz NOT NULL
);
CREATE INDEX gate_counter_expiry ON core.gate_counter (expires_at);

CREATE TABLE core.trusted_device (
    device_id    uuid        PRIMARY KEY,
    user_id      uuid        NOT NULL REFERENCES core.user,
    -- What the client called itself, so that people recognise their devices.
    description  text        NOT NULL CONSTRAINT trusted_device_description_length CHECK (char_length(description) <= 200),
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    CONSTRAINT trusted_device_times CHECK (created_at <= last_used_at AND last_used_at < expires_at)
);
CREATE INDEX trusted_device_of_user ON core.trusted_device (user_id, last_used_at);
CREATE INDEX trusted_device_expiry ON core.trusted_device (expires_at);

ALTER TABLE core.gate_counter   ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.gate_counter   FORCE ROW LEVEL SECURITY;
ALTER TABLE core.trusted_device ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.trusted_device FORCE ROW LEVEL SECURITY;
CREATE POLICY gate_counter_definer   ON core.gate_counter   TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY trusted_device_definer ON core.trusted_device TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY trusted_device_own ON core.trusted_device FOR SELECT TO portico_core USING (
    user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
REVOKE ALL ON core.gate_counter, core.trusted_device FROM PUBLIC;
GRANT SELECT ON core.trusted_device TO portico_core;
GRANT SELECT (kind, state, expires_at) ON core.gate_counter TO portico_auditor;
GRANT SELECT (device_id, user_id, created_at, last_used_at, expires_at) ON core.trusted_device TO portico_auditor;

-- The one clock of the gate.
CREATE FUNCTION core.gate_time() RETURNS timestamptz LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT clock_timestamp()
$$;
CREATE FUNCTION core.gate_time_ms() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT floor(extract(epoch FROM core.gate_time()) * 1000)::bigint
$$;

-- The counters as they are, and the time: one row for each key.
CREATE FUNCTION core.gate_peek(p_keys bytea[])
RETURNS TABLE (key bytea, state text, now_ms bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT wanted.key, counter.state::text, core.gate_time_ms()
      FROM unnest(p_keys) AS wanted(key) LEFT JOIN core.gate_counter counter ON counter.key = wanted.key
$$;

-- The same, for whoever changes them: they are locked until the transaction ends, always in the same order.
CREATE FUNCTION core.gate_hold(p_keys bytea[], p_kinds text[])
RETURNS TABLE (key bytea, state text, now_ms bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO core.gate_counter (key, kind, expires_at)
    SELECT wanted.key, wanted.kind, core.gate_time()
      FROM unnest(p_keys, p_kinds) AS wanted(key, kind) ORDER BY wanted.key
    ON CONFLICT (key) DO UPDATE SET kind = excluded.kind;
    RETURN QUERY SELECT counter.key, counter.state::text, core.gate_time_ms()
                   FROM core.gate_counter counter WHERE counter.key = ANY (p_keys);
END $$;

-- Writes held counters down, each for so many seconds. One without a state says nothing, and goes.
CREATE FUNCTION core.gate_keep(p_keys bytea[], p_states text[], p_kept_s bigint[])
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE core.gate_counter counter
       SET state = kept.state::jsonb, expires_at = core.gate_time() + kept.for_s * interval '1 second'
      FROM unnest(p_keys, p_states, p_kept_s) AS kept(key, state, for_s)
     WHERE counter.key = kept.key AND kept.state IS NOT NULL;
    DELETE FROM core.gate_counter counter
     USING unnest(p_keys, p_states) AS kept(key, state)
     WHERE counter.key = kept.key AND kept.state IS NULL;
$$;

-- Removes what says nothing any more, at most so many counters and so many devices. Gives how many of both.
CREATE FUNCTION core.purge_gate(p_most int)
RETURNS bigint LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH counters AS (
        DELETE FROM core.gate_counter WHERE key IN (
            SELECT key FROM core.gate_counter WHERE expires_at < core.gate_time()
             ORDER BY expires_at LIMIT p_most FOR UPDATE SKIP LOCKED)
        RETURNING 1),
    devices AS (
        DELETE FROM core.trusted_device WHERE device_id IN (
            SELECT device_id FROM core.trusted_device WHERE expires_at < core.gate_time()
             ORDER BY expires_at LIMIT p_most FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT (SELECT count(*) FROM counters) + (SELECT count(*) FROM devices)
$$;

-- Something that auditors, and the owner of a name, hear of. A name that nobody has leaves a row of the same shape. What it is
-- told to other systems by is the outbox, for whom a person stands behind it: the mail with the link to unlock is sent from there.
CREATE FUNCTION core.record_gate_event(p_email text, p_action text, p_outcome text, p_payload jsonb, p_request_id text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid;
    v_tenant bigint;
BEGIN
    SELECT u.user_id, u.tenant_id INTO v_user, v_tenant FROM core.user u WHERE u.email = p_email;
    -- An operator at the command line is nobody's user.
    PERFORM core.record_audit(
        v_tenant, CASE WHEN p_outcome <> 'operator' THEN v_user END, NULL, p_action, v_user, p_outcome, p_request_id);
    IF v_user IS NULL THEN RETURN false; END IF;
    INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload) VALUES (v_tenant, p_action, v_user, p_payload);
    RETURN true;
END $$;

-- Whether a device may still be trusted. Whose it is, its token says.
CREATE FUNCTION core.is_device_trusted(p_device uuid)
RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM core.trusted_device d WHERE d.device_id = p_device AND d.expires_at > core.gate_time())
$$;

-- Trusts a device that its owner signed in with, from now on for so long. Of more than p_most, those go that were used least
-- recently. Gives when that was, in seconds since 1970.
CREATE FUNCTION core.trust_device(
    p_user uuid, p_device uuid, p_description text, p_for_s bigint, p_most bigint, p_request_id text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := core.gate_time();
BEGIN
    -- One after the other for each person: two at once would both find room.
    PERFORM FROM core.user u WHERE u.user_id = p_user FOR NO KEY UPDATE;
    UPDATE core.trusted_device d
       SET last_used_at = v_now, expires_at = v_now + p_for_s * interval '1 second', description = p_description
     WHERE d.device_id = p_device AND d.user_id = p_user;
    IF NOT FOUND THEN
        INSERT INTO core.trusted_device (device_id, user_id, description, created_at, last_used_at, expires_at)
        VALUES (p_device, p_user, p_description, v_now, v_now, v_now + p_for_s * interval '1 second');
        PERFORM core.record_audit((SELECT u.tenant_id FROM core.user u WHERE u.user_id = p_user), p_user, NULL,
                                  'device.trusted', p_device, 'done', p_request_id);
        DELETE FROM core.trusted_device d WHERE d.device_id IN (
            SELECT old.device_id FROM core.trusted_device old WHERE old.user_id = p_user
             ORDER BY old.last_used_at DESC, old.device_id DESC OFFSET p_most);
    END IF;
    RETURN floor(extract(epoch FROM v_now))::bigint;
END $$;

-- Trusts a device no more: its owner says so (p_user is given), or it guessed too often. False when it was not trusted.
CREATE FUNCTION core.distrust_device(p_device uuid, p_user uuid, p_session uuid, p_outcome text, p_request_id text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid;
BEGIN
    DELETE FROM core.trusted_device d WHERE d.device_id = p_device AND (p_user IS NULL OR d.user_id = p_user)
    RETURNING d.user_id INTO v_user;
    IF NOT FOUND THEN RETURN false; END IF;
    PERFORM core.record_audit((SELECT u.tenant_id FROM core.user u WHERE u.user_id = v_user), v_user, p_session,
                              'device.distrusted', p_device, p_outcome, p_request_id);
    RETURN true;
END $$;

-- Trusts no device of a user any more. Gives how many were trusted.
CREATE FUNCTION core.distrust_devices(p_user uuid, p_outcome text, p_request_id text)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tenant bigint;
    v_device uuid;
    v_count bigint := 0;
BEGIN
    -- The user first, as in trust_device: one that is being trusted now is trusted before or after, never past this.
    SELECT u.tenant_id INTO v_tenant FROM core.user u WHERE u.user_id = p_user FOR NO KEY UPDATE;
    FOR v_device IN DELETE FROM core.trusted_device d WHERE d.user_id = p_user RETURNING d.device_id LOOP
        PERFORM core.record_audit(v_tenant, p_user, NULL, 'device.distrusted', v_device, p_outcome, p_request_id);
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;

-- Uses up the ticket of a mail that unlocks. No row: it is not good, or the address is another's by now.
CREATE FUNCTION core.use_unlock_ticket(p_token_hash bytea)
RETURNS TABLE (user_id uuid, email text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_ticket record;
BEGIN
    SELECT t.user_id, t.email INTO v_ticket FROM core.use_ticket('unlock', p_token_hash) t;
    IF NOT FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT u.user_id, u.email FROM core.user u
      WHERE u.user_id = v_ticket.user_id AND u.email = v_ticket.email AND u.status <> 'disabled';
END $$;

REVOKE ALL ON FUNCTION core.gate_time, core.gate_time_ms, core.gate_peek, core.gate_hold, core.gate_keep, core.purge_gate,
    core.record_gate_event, core.is_device_trusted, core.trust_device, core.distrust_device, core.distrust_devices,
    core.use_unlock_ticket FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.gate_peek, core.gate_hold, core.gate_keep, core.purge_gate, core.record_gate_event,
    core.is_device_trusted, core.trust_device, core.distrust_device, core.distrust_devices, core.use_unlock_ticket TO portico_core;
