-- Second factors: TOTP (RFC 6238) with its replay guard, recovery codes, log-ins in two steps, and the confirmation of a single
-- operation. The clock is the gate's, as everywhere where guesses are counted.

-- One for each person. One that is not confirmed protects nothing yet: it waits for its first code, which must come from the
-- session that began. `sealed` opens in core-api alone, with the pepper.
CREATE TABLE core.totp_factor (
    user_id      uuid        PRIMARY KEY REFERENCES core.user ON DELETE CASCADE,
    session_id   uuid        NOT NULL,                   -- where it was begun
    sealed       bytea       NOT NULL,
    -- The last time step whose code was used; no code of it or of an earlier one is good (RFC 6238 §5.2).
    last_step    bigint      NOT NULL DEFAULT 0 CONSTRAINT totp_factor_step_range CHECK (last_step >= 0),
    failures     int         NOT NULL DEFAULT 0,         -- before it was confirmed
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,                   -- unless it is confirmed before
    confirmed_at timestamptz,
    last_used_at timestamptz,
    CONSTRAINT totp_factor_times CHECK (created_at < expires_at AND created_at <= confirmed_at AND confirmed_at <= last_used_at)
);
CREATE INDEX totp_factor_begun ON core.totp_factor (expires_at) WHERE confirmed_at IS NULL;

-- 120 random bits each, so a plain SHA-256 hides them.
CREATE TABLE core.recovery_code (
    user_id    uuid        NOT NULL REFERENCES core.user ON DELETE CASCADE,
    code_hash  bytea       NOT NULL CONSTRAINT recovery_code_hash_length CHECK (octet_length(code_hash) = 32),
    created_at timestamptz NOT NULL,
    used_at    timestamptz,
    CONSTRAINT recovery_code_pkey PRIMARY KEY (user_id, code_hash)
);

-- A log-in whose password was right and whose second factor is awaited.
CREATE TABLE core.login_challenge (
    token_hash       bytea       PRIMARY KEY CONSTRAINT login_challenge_hash_length CHECK (octet_length(token_hash) = 32),
    user_id          uuid        NOT NULL REFERENCES core.user ON DELETE CASCADE,
    password_version int         NOT NULL,               -- of the password that was right
    failures         int         NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    consumed_at      timestamptz
);
CREATE INDEX login_challenge_expiry ON core.login_challenge (expires_at);
CREATE INDEX login_challenge_user ON core.login_challenge (user_id);

-- The word of a person, by a second factor, that this one operation is meant.
CREATE TABLE core.step_up (
    token_hash bytea       PRIMARY KEY CONSTRAINT step_up_hash_length CHECK (octet_length(token_hash) = 32),
    user_id    uuid        NOT NULL REFERENCES core.user ON DELETE CASCADE,
    session_id uuid        NOT NULL,
    -- SHA-256 of method, path and body.
    digest     bytea       NOT NULL CONSTRAINT step_up_digest_length CHECK (octet_length(digest) = 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- What it was used for: the movement of money, or the request. The same again is the same use.
    used_for   uuid,
    used_at    timestamptz,
    CONSTRAINT step_up_used CHECK ((used_for IS NULL) = (used_at IS NULL))
);
CREATE INDEX step_up_unused_expiry ON core.step_up (expires_at) WHERE used_for IS NULL;
CREATE INDEX step_up_used_expiry ON core.step_up (expires_at) WHERE used_for IS NOT NULL;
CREATE INDEX step_up_user ON core.step_up (user_id);

ALTER TABLE core.totp_factor     ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.totp_factor     FORCE ROW LEVEL SECURITY;
ALTER TABLE core.recovery_code   ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.recovery_code   FORCE ROW LEVEL SECURITY;
ALTER TABLE core.login_challenge ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.login_challenge FORCE ROW LEVEL SECURITY;
ALTER TABLE core.step_up         ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.step_up         FORCE ROW LEVEL SECURITY;
CREATE POLICY totp_factor_definer     ON core.totp_factor     TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY recovery_code_definer   ON core.recovery_code   TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY login_challenge_definer ON core.login_challenge TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY step_up_definer         ON core.step_up         TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY totp_factor_own ON core.totp_factor FOR SELECT TO portico_core USING (
    user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
CREATE POLICY recovery_code_own ON core.recovery_code FOR SELECT TO portico_core USING (
    user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
REVOKE ALL ON core.totp_factor, core.recovery_code, core.login_challenge, core.step_up FROM PUBLIC;
GRANT SELECT (user_id, confirmed_at, last_used_at) ON core.totp_factor TO portico_core;
GRANT SELECT (user_id, used_at) ON core.recovery_code TO portico_core;
GRANT SELECT (user_id, session_id, failures, created_at, expires_at, confirmed_at, last_used_at) ON core.totp_factor TO portico_auditor;
GRANT SELECT (user_id, created_at, used_at) ON core.recovery_code TO portico_auditor;
GRANT SELECT (user_id, failures, created_at, expires_at, consumed_at) ON core.login_challenge TO portico_auditor;
GRANT SELECT (user_id, session_id, created_at, expires_at, used_for, used_at) ON core.step_up TO portico_auditor;

ALTER TABLE core.gate_counter
    DROP CONSTRAINT gate_counter_kind_known,
    ADD CONSTRAINT gate_counter_kind_known CHECK (kind IN ('name', 'pair', 'device', 'network', 'otp'));

-- How a person showed who he is (RFC 8176), and when. NULL: when the session was opened.
ALTER TABLE core.session
    ADD COLUMN amr              text[] NOT NULL DEFAULT '{pwd}' CONSTRAINT session_amr_known CHECK (amr <@ '{pwd,otp,mfa}'),
    ADD COLUMN authenticated_at timestamptz,
    -- Since the last right one.
    ADD COLUMN wrong_codes      smallint NOT NULL DEFAULT 0 CONSTRAINT session_wrong_codes_range CHECK (wrong_codes >= 0);
GRANT SELECT (amr, authenticated_at, wrong_codes) ON core.session TO portico_auditor;

CREATE FUNCTION core.session_authentication(p_session uuid)
RETURNS TABLE (amr text[], auth_time timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.amr, coalesce(s.authenticated_at, s.created_at) FROM core.session s WHERE s.session_id = p_session
$$;

-- Says how whoever opened a session showed who he is; in the transaction that opens it.
CREATE FUNCTION core.note_authentication(p_session uuid, p_amr text[])
RETURNS timestamptz LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE core.session s SET amr = p_amr, authenticated_at = s.created_at WHERE s.session_id = p_session
    RETURNING s.authenticated_at
$$;

-- Something that auditors and other systems hear of a person's factors.
CREATE FUNCTION core.record_factor_event(
    p_user uuid, p_session uuid, p_action text, p_outcome text, p_request_id text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tenant bigint;
BEGIN
    SELECT u.tenant_id INTO v_tenant FROM core.user u WHERE u.user_id = p_user;
    -- An operator at the command line is nobody's user.
    PERFORM core.record_audit(v_tenant, CASE WHEN p_outcome NOT LIKE 'operator%' THEN p_user END, p_session, p_action, p_user,
                              p_outcome, p_request_id);
    IF p_outcome <> 'operator_nothing'
       AND p_action IN ('factor.added', 'factor.removed', 'factor.locked', 'recovery_codes.renewed', 'recovery_code.used') THEN
        INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload) VALUES (v_tenant, p_action, p_user, '{}');
    END IF;
END $$;

-- Holds the user whom the transaction is bound to, so that his factors change in turns. NULL: the session is over.
CREATE FUNCTION core.hold_own_factors(p_session uuid)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    v_email text;
BEGIN
    SELECT u.email INTO v_email FROM core.user u WHERE u.user_id = v_user AND u.status = 'active' FOR NO KEY UPDATE;
    -- Once more behind the lock: whoever had it may have ended this session.
    PERFORM FROM core.session s
      WHERE s.session_id = p_session AND s.user_id = v_user AND s.revoked_at IS NULL AND s.absolute_expires_at > clock_timestamp();
    IF NOT FOUND THEN RETURN NULL; END IF;
    RETURN v_email;
END $$;

-- Begins the enrolment of a TOTP secret, in place of one that was never confirmed. Outcomes: begun, exists, and session_ended,
-- also when the password is not p_version any more.
CREATE FUNCTION core.begin_totp(p_session uuid, p_version int, p_sealed bytea, p_for_s int, p_request_id text)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    v_now timestamptz := core.gate_time();
BEGIN
    IF core.hold_own_factors(p_session) IS NULL OR NOT core.hold_password(v_user, p_version) THEN RETURN 'session_ended'; END IF;
    INSERT INTO core.totp_factor AS known (user_id, session_id, sealed, created_at, expires_at)
    VALUES (v_user, p_session, p_sealed, v_now, v_now + make_interval(secs => p_for_s))
    ON CONFLICT ON CONSTRAINT totp_factor_pkey DO UPDATE
       SET session_id = excluded.session_id, sealed = excluded.sealed, created_at = excluded.created_at,
           expires_at = excluded.expires_at, failures = 0, last_step = 0
     WHERE known.confirmed_at IS NULL;
    IF NOT FOUND THEN RETURN 'exists'; END IF;
    PERFORM core.record_factor_event(v_user, p_session, 'factor.begun', 'done', p_request_id);
    RETURN 'begun';
END $$;

-- The secret that waits for its first code, and the time. No row: there is none of this session, it is over, or too many codes
-- were wrong. Hold the user's factors first.
CREATE FUNCTION core.pending_totp(p_session uuid, p_most_failures int)
RETURNS TABLE (sealed bytea, now_ms bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT f.sealed, core.gate_time_ms() FROM core.totp_factor f
     WHERE f.user_id = nullif(current_setting('app.user_id', true), '')::uuid AND f.session_id = p_session
       AND f.confirmed_at IS NULL AND f.expires_at > core.gate_time() AND f.failures < p_most_failures
$$;

CREATE FUNCTION core.fail_pending_totp(p_session uuid, p_request_id text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
BEGIN
    UPDATE core.totp_factor f SET failures = f.failures + 1 WHERE f.user_id = v_user AND f.confirmed_at IS NULL;
    PERFORM core.record_factor_event(v_user, p_session, 'factor.added', 'wrong_code', p_request_id);
END $$;

-- Confirms the secret with the step of its first code, which is used by that, gives the person recovery codes, and ends every
-- other session: those were opened without the factor. Gives the sessions whose access tokens may still be good.
CREATE FUNCTION core.confirm_totp(p_session uuid, p_step bigint, p_code_hashes bytea[], p_used_s int, p_request_id text)
RETURNS uuid[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    v_now timestamptz := core.gate_time();
    v_ended uuid[];
BEGIN
    UPDATE core.totp_factor f SET last_step = p_step, confirmed_at = greatest(v_now, f.created_at),
                                  last_used_at = greatest(v_now, f.created_at)
     WHERE f.user_id = v_user AND f.confirmed_at IS NULL AND f.last_step < p_step;
    IF NOT FOUND THEN RETURN NULL; END IF;
    DELETE FROM core.login_challenge c WHERE c.user_id = v_user;
    PERFORM core.put_recovery_codes(v_user, p_code_hashes);
    PERFORM core.record_factor_event(v_user, p_session, 'factor.added', 'done', p_request_id);
    SELECT coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}') INTO v_ended
      FROM core.end_sessions(v_user, NULL, p_session, 'factor_added', p_used_s, p_request_id) e;
    RETURN v_ended;
END $$;

CREATE FUNCTION core.put_recovery_codes(p_user uuid, p_code_hashes bytea[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM core.recovery_code c WHERE c.user_id = p_user;
    INSERT INTO core.recovery_code (user_id, code_hash, created_at) SELECT p_user, hash, core.gate_time() FROM unnest(p_code_hashes) hash
$$;

-- New recovery codes in place of all the old ones. False: there is no second factor.
CREATE FUNCTION core.renew_recovery_codes(p_session uuid, p_code_hashes bytea[], p_used_s int, p_request_id text)
RETURNS TABLE (ended uuid[]) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
BEGIN
    IF NOT core.has_second_factor(v_user) THEN RETURN; END IF;
    PERFORM core.put_recovery_codes(v_user, p_code_hashes);
    PERFORM core.record_factor_event(v_user, p_session, 'recovery_codes.renewed', 'done', p_request_id);
    RETURN QUERY SELECT coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}')
      FROM core.end_sessions(v_user, NULL, p_session, 'recovery_codes_renewed', p_used_s, p_request_id) e;
END $$;

-- Removes a person's second factors, the recovery codes with them, and ends every session but p_except. No row: there are none.
CREATE FUNCTION core.remove_factors(p_user uuid, p_except uuid, p_outcome text, p_used_s int, p_request_id text)
RETURNS TABLE (email text, ended uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_email text;
BEGIN
    SELECT u.email INTO v_email FROM core.user u WHERE u.user_id = p_user FOR NO KEY UPDATE;
    DELETE FROM core.totp_factor f WHERE f.user_id = p_user AND f.confirmed_at IS NOT NULL;
    IF NOT FOUND THEN
        IF p_outcome = 'operator' THEN
            PERFORM core.record_factor_event(p_user, NULL, 'factor.removed', 'operator_nothing', p_request_id);
        END IF;
        RETURN;
    END IF;
    DELETE FROM core.recovery_code c WHERE c.user_id = p_user;
    DELETE FROM core.login_challenge c WHERE c.user_id = p_user;
    DELETE FROM core.step_up t WHERE t.user_id = p_user AND t.used_for IS NULL;
    PERFORM core.record_factor_event(p_user, p_except, 'factor.removed', p_outcome, p_request_id);
    RETURN QUERY SELECT v_email, coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}')
      FROM core.end_sessions(p_user, NULL, p_except, CASE WHEN p_outcome = 'operator' THEN 'operator' ELSE 'factor_removed' END,
                             p_used_s, p_request_id) e;
END $$;

CREATE FUNCTION core.has_second_factor(p_user uuid)
RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM core.totp_factor f WHERE f.user_id = p_user AND f.confirmed_at IS NOT NULL)
$$;

-- Awaits the second factor of a user whose password was right and who is held. False: he has none. A renewed hash of the
-- password is kept now, for the session comes later.
CREATE FUNCTION core.challenge_login(
    p_user uuid, p_version int, p_token_hash bytea, p_for_s int, p_rehashed text, p_request_id text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := core.gate_time();
BEGIN
    IF NOT core.has_second_factor(p_user) THEN RETURN false; END IF;
    IF p_rehashed IS NOT NULL THEN
        UPDATE core.user u SET password_hash = p_rehashed WHERE u.user_id = p_user;
    END IF;
    INSERT INTO core.login_challenge (token_hash, user_id, password_version, created_at, expires_at)
    VALUES (p_token_hash, p_user, p_version, v_now, v_now + make_interval(secs => p_for_s));
    PERFORM core.record_factor_event(p_user, NULL, 'login.challenged', 'done', p_request_id);
    RETURN true;
END $$;

-- Holds the user of a log-in that awaits its second factor. No row: there is no such log-in, it is over or was finished, too
-- many codes were wrong, or the password is another by now.
CREATE FUNCTION core.hold_challenge(p_token_hash bytea, p_most_failures int)
RETURNS TABLE (user_id uuid, email text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    -- The user before the challenge, as everywhere.
    PERFORM FROM core.user u
      WHERE u.user_id = (SELECT c.user_id FROM core.login_challenge c WHERE c.token_hash = p_token_hash) FOR NO KEY UPDATE;
    RETURN QUERY
    SELECT u.user_id, u.email FROM core.login_challenge c JOIN core.user u ON u.user_id = c.user_id
     WHERE c.token_hash = p_token_hash AND c.consumed_at IS NULL AND c.expires_at > core.gate_time()
       AND c.failures < p_most_failures AND c.password_version = u.password_version AND u.status = 'active';
END $$;

CREATE FUNCTION core.fail_challenge(p_token_hash bytea)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE core.login_challenge c SET failures = c.failures + 1 WHERE c.token_hash = p_token_hash
$$;

-- True once.
CREATE FUNCTION core.use_challenge(p_token_hash bytea)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE core.login_challenge c SET consumed_at = core.gate_time() WHERE c.token_hash = p_token_hash AND c.consumed_at IS NULL;
    RETURN FOUND;
END $$;

-- The sealed secret of a confirmed factor. No row: there is none.
CREATE FUNCTION core.totp_secret(p_user uuid)
RETURNS TABLE (sealed bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT f.sealed FROM core.totp_factor f WHERE f.user_id = p_user AND f.confirmed_at IS NOT NULL
$$;

-- Uses the code of a time step up: true once for each step, and never for one before the last (RFC 6238 §5.2). The secret is
-- sealed anew where p_resealed is given.
CREATE FUNCTION core.use_totp_step(p_user uuid, p_step bigint, p_resealed bytea)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE core.totp_factor f
       SET last_step = p_step, sealed = coalesce(p_resealed, f.sealed), last_used_at = greatest(core.gate_time(), f.confirmed_at)
     WHERE f.user_id = p_user AND f.confirmed_at IS NOT NULL AND f.last_step < p_step;
    RETURN FOUND;
END $$;

-- Uses a recovery code up: true once.
CREATE FUNCTION core.use_recovery_code(p_user uuid, p_code_hash bytea)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE core.recovery_code c SET used_at = core.gate_time()
     WHERE c.user_id = p_user AND c.code_hash = p_code_hash AND c.used_at IS NULL AND core.has_second_factor(p_user);
    RETURN FOUND;
END $$;

-- Notes that the user of the transaction means the operation of this digest, from this session.
CREATE FUNCTION core.give_step_up(p_session uuid, p_token_hash bytea, p_digest bytea, p_for_s int, p_request_id text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    v_now timestamptz := core.gate_time();
BEGIN
    INSERT INTO core.step_up (token_hash, user_id, session_id, digest, created_at, expires_at)
    VALUES (p_token_hash, v_user, p_session, p_digest, v_now, v_now + make_interval(secs => p_for_s));
    UPDATE core.session s SET wrong_codes = 0 WHERE s.session_id = p_session AND s.wrong_codes > 0;
    PERFORM core.record_factor_event(v_user, p_session, 'step_up.given', 'done', p_request_id);
END $$;

-- Counts a wrong code of a session, which ends at the p_most-th in a row: whoever has somebody else's token shall not lock the
-- codes of its owner. Hold the user's factors first. A row when it has ended, with the session if its tokens may still be good.
CREATE FUNCTION core.fail_step_up(p_session uuid, p_most int, p_used_s int, p_request_id text)
RETURNS TABLE (ended uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    v_failures int;
BEGIN
    SELECT s.wrong_codes + 1 INTO v_failures FROM core.session s WHERE s.session_id = p_session AND s.user_id = v_user;
    -- Its tokens before the session, as a refresh does: it is not touched before.
    IF v_failures >= p_most THEN
        RETURN QUERY SELECT coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}')
          FROM core.end_sessions(v_user, p_session, NULL, 'wrong_codes', p_used_s, p_request_id) e;
    END IF;
    UPDATE core.session s SET wrong_codes = v_failures WHERE s.session_id = p_session AND s.user_id = v_user;
END $$;

-- Uses a confirmation up, for one operation: the same operation again is the same use, and once money has moved also when its time
-- is over, so that a movement is repeated with its key. What was confirmed and then refused is confirmed anew. False: it is none of
-- this user, session and digest, is over, or was used for something else.
CREATE FUNCTION core.use_step_up(p_session uuid, p_token_hash bytea, p_digest bytea, p_used_for uuid, p_request_id text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    v_now timestamptz := core.gate_time();
BEGIN
    UPDATE core.step_up t SET used_for = p_used_for, used_at = coalesce(t.used_at, v_now)
     WHERE t.token_hash = p_token_hash AND t.user_id = v_user AND t.session_id = p_session AND t.digest = p_digest
       AND coalesce(t.used_for, p_used_for) = p_used_for
       AND ((t.expires_at > v_now AND core.has_second_factor(v_user))
            OR EXISTS (SELECT FROM ledger.transfer moved WHERE moved.entry_id = t.used_for));
    IF NOT FOUND THEN
        PERFORM core.record_factor_event(v_user, p_session, 'step_up.used', 'refused', p_request_id);
        RETURN false;
    END IF;
    PERFORM core.record_factor_event(v_user, p_session, 'step_up.used', 'done', p_request_id);
    RETURN true;
END $$;

-- Removes what says nothing any more, at most p_most of each kind. Gives how many of all.
CREATE OR REPLACE FUNCTION core.purge_gate(p_most int)
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
        RETURNING 1),
    challenges AS (
        DELETE FROM core.login_challenge WHERE token_hash IN (
            SELECT token_hash FROM core.login_challenge WHERE expires_at < core.gate_time()
             ORDER BY expires_at LIMIT p_most FOR UPDATE SKIP LOCKED)
        RETURNING 1),
    step_ups AS (
        DELETE FROM core.step_up WHERE token_hash IN (
            SELECT token_hash FROM core.step_up WHERE used_for IS NULL AND expires_at < core.gate_time()
             ORDER BY expires_at LIMIT p_most FOR UPDATE SKIP LOCKED)
        RETURNING 1),
    -- For as long as an answer may be asked for again: idempotency.ttl_s is 30 days at most.
    used_step_ups AS (
        DELETE FROM core.step_up WHERE token_hash IN (
            SELECT token_hash FROM core.step_up WHERE used_for IS NOT NULL AND expires_at < core.gate_time() - interval '32 days'
             ORDER BY expires_at LIMIT p_most FOR UPDATE SKIP LOCKED)
        RETURNING 1),
    enrolments AS (
        DELETE FROM core.totp_factor WHERE user_id IN (
            SELECT user_id FROM core.totp_factor WHERE confirmed_at IS NULL AND expires_at < core.gate_time()
             LIMIT p_most FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT (SELECT count(*) FROM counters) + (SELECT count(*) FROM devices) + (SELECT count(*) FROM challenges)
         + (SELECT count(*) FROM step_ups) + (SELECT count(*) FROM used_step_ups) + (SELECT count(*) FROM enrolments)
$$;

REVOKE ALL ON FUNCTION core.session_authentication, core.note_authentication, core.record_factor_event, core.hold_own_factors,
    core.begin_totp, core.pending_totp, core.fail_pending_totp, core.confirm_totp, core.put_recovery_codes,
    core.renew_recovery_codes, core.remove_factors, core.has_second_factor, core.challenge_login, core.hold_challenge,
    core.fail_challenge, core.use_challenge, core.totp_secret, core.use_totp_step, core.use_recovery_code, core.give_step_up,
    core.fail_step_up, core.use_step_up FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.session_authentication, core.note_authentication, core.record_factor_event, core.hold_own_factors,
    core.begin_totp, core.pending_totp, core.fail_pending_totp, core.confirm_totp, core.renew_recovery_codes,
    core.remove_factors, core.has_second_factor, core.challenge_login, core.hold_challenge, core.fail_challenge,
    core.use_challenge, core.totp_secret, core.use_totp_step, core.use_recovery_code, core.give_step_up, core.fail_step_up,
    core.use_step_up
    TO portico_core;
