-- Passkeys (WebAuthn): the public keys of authenticators, and the ceremonies in which one is registered, signs in or confirms an
-- operation. What core-api asks of an authenticator stands in a ceremony here, and whoever answers uses it up.

CREATE TABLE core.passkey (
    passkey_id    uuid        PRIMARY KEY,
    user_id       uuid        NOT NULL REFERENCES core.user ON DELETE CASCADE,
    -- By what its authenticator knows it: once in the bank, whoever shows it.
    credential_id bytea       NOT NULL CONSTRAINT passkey_credential_id_known_once UNIQUE
                              CONSTRAINT passkey_credential_id_length CHECK (octet_length(credential_id) BETWEEN 1 AND 1023),
    -- The public key, and what was said at its registration. Nothing in it opens anything.
    credential    jsonb       NOT NULL,
    -- The highest that was seen; 0 of authenticators that count nothing.
    sign_count    bigint      NOT NULL CONSTRAINT passkey_sign_count_range CHECK (sign_count BETWEEN 0 AND 4294967295),
    is_backed_up  boolean     NOT NULL,
    name          text        NOT NULL CONSTRAINT passkey_name_length CHECK (char_length(name) BETWEEN 1 AND 64),
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz,
    CONSTRAINT passkey_times CHECK (created_at <= last_used_at)
);
CREATE INDEX passkey_user ON core.passkey (user_id);

CREATE TABLE core.passkey_ceremony (
    token_hash bytea       PRIMARY KEY CONSTRAINT passkey_ceremony_hash_length CHECK (octet_length(token_hash) = 32),
    purpose    text        NOT NULL CONSTRAINT passkey_ceremony_purpose_known CHECK (purpose IN ('registration', 'log_in', 'step_up')),
    -- Nobody's while somebody signs in: who it is, the answer says.
    user_id    uuid        REFERENCES core.user ON DELETE CASCADE,
    session_id uuid,
    -- SHA-256 of the operation that is confirmed.
    digest     bytea       CONSTRAINT passkey_ceremony_digest_length CHECK (octet_length(digest) = 32),
    -- Where somebody signs in from, as an HMAC under the pepper: so many for each network, no more.
    network    bytea       CONSTRAINT passkey_ceremony_network_length CHECK (octet_length(network) = 32),
    -- The challenge among others.
    state      jsonb       NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT passkey_ceremony_whose CHECK (
        (purpose = 'log_in') = (user_id IS NULL) AND (user_id IS NULL) = (session_id IS NULL)
        AND (purpose = 'log_in') = (network IS NOT NULL) AND (purpose = 'step_up') = (digest IS NOT NULL))
);
CREATE INDEX passkey_ceremony_expiry  ON core.passkey_ceremony (expires_at);
CREATE INDEX passkey_ceremony_network ON core.passkey_ceremony (network, created_at) WHERE network IS NOT NULL;
CREATE INDEX passkey_ceremony_user    ON core.passkey_ceremony (user_id) WHERE user_id IS NOT NULL;

ALTER TABLE core.passkey          ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.passkey          FORCE ROW LEVEL SECURITY;
ALTER TABLE core.passkey_ceremony ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.passkey_ceremony FORCE ROW LEVEL SECURITY;
CREATE POLICY passkey_definer          ON core.passkey          TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY passkey_ceremony_definer ON core.passkey_ceremony TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY passkey_own ON core.passkey FOR SELECT TO portico_core USING (
    user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
REVOKE ALL ON core.passkey, core.passkey_ceremony FROM PUBLIC;
GRANT SELECT (passkey_id, user_id, credential_id, is_backed_up, name, created_at, last_used_at) ON core.passkey TO portico_core;
GRANT SELECT (passkey_id, user_id, sign_count, is_backed_up, created_at, last_used_at) ON core.passkey TO portico_auditor;
GRANT SELECT (purpose, user_id, session_id, created_at, expires_at) ON core.passkey_ceremony TO portico_auditor;

-- A key in hardware, one in software that is synchronised, and somebody who was there (RFC 8176).
ALTER TABLE core.session
    DROP CONSTRAINT session_amr_known,
    ADD CONSTRAINT session_amr_known CHECK (amr <@ '{pwd,otp,mfa,hwk,swk,user}');

CREATE OR REPLACE FUNCTION core.has_second_factor(p_user uuid)
RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM core.totp_factor f WHERE f.user_id = p_user AND f.confirmed_at IS NOT NULL)
        OR EXISTS (SELECT FROM core.passkey k WHERE k.user_id = p_user)
$$;

-- Begins a ceremony of the user whom the transaction is bound to, in place of the last one of this purpose in this session. Hold
-- the user's factors first.
CREATE FUNCTION core.begin_own_ceremony(
    p_session uuid, p_purpose text, p_token_hash bytea, p_digest bytea, p_state jsonb, p_for_s int)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    v_now timestamptz := core.gate_time();
BEGIN
    DELETE FROM core.passkey_ceremony c WHERE c.user_id = v_user AND c.session_id = p_session AND c.purpose = p_purpose;
    INSERT INTO core.passkey_ceremony (token_hash, purpose, user_id, session_id, digest, state, created_at, expires_at)
    VALUES (p_token_hash, p_purpose, v_user, p_session, p_digest, p_state, v_now, v_now + make_interval(secs => p_for_s));
END $$;

-- Begins the log-in of nobody knows whom. Of more than p_most from one network the oldest go: whoever begins many ends his own.
CREATE FUNCTION core.begin_passkey_log_in(p_token_hash bytea, p_network bytea, p_most bigint, p_state jsonb, p_for_s int)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := core.gate_time();
BEGIN
    INSERT INTO core.passkey_ceremony (token_hash, purpose, network, state, created_at, expires_at)
    VALUES (p_token_hash, 'log_in', p_network, p_state, v_now, v_now + make_interval(secs => p_for_s));
    DELETE FROM core.passkey_ceremony c WHERE c.token_hash IN (
        SELECT old.token_hash FROM core.passkey_ceremony old WHERE old.network = p_network
         ORDER BY old.created_at DESC, old.token_hash DESC OFFSET p_most FOR UPDATE SKIP LOCKED);
END $$;

-- Uses a ceremony up: a row once, and none for whoever did not begin it, for another purpose, or when its time is over.
CREATE FUNCTION core.use_ceremony(p_token_hash bytea, p_purpose text, p_session uuid)
RETURNS TABLE (state jsonb, digest bytea)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH used AS (
        DELETE FROM core.passkey_ceremony c
         WHERE c.token_hash = p_token_hash AND c.purpose = p_purpose AND c.session_id IS NOT DISTINCT FROM p_session
           AND c.user_id IS NOT DISTINCT FROM nullif(current_setting('app.user_id', true), '')::uuid
        RETURNING c.state, c.digest, c.expires_at)
    SELECT used.state, used.digest FROM used WHERE used.expires_at > core.gate_time()
$$;

-- The passkey that an active user shows, both held until the transaction ends. No row: it is not his, or he may not sign in.
CREATE FUNCTION core.hold_passkey(p_user uuid, p_credential_id bytea)
RETURNS TABLE (passkey_id uuid, email text, credential jsonb, sign_count bigint, created_at timestamptz, now_ms bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_email text;
BEGIN
    SELECT u.email INTO v_email FROM core.user u WHERE u.user_id = p_user AND u.status = 'active' FOR NO KEY UPDATE;
    IF NOT FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT k.passkey_id, v_email, k.credential, k.sign_count, k.created_at, core.gate_time_ms()
      FROM core.passkey k WHERE k.user_id = p_user AND k.credential_id = p_credential_id FOR UPDATE;
END $$;

-- Notes that a held passkey was used. A count that went back is kept as the highest that was seen.
CREATE FUNCTION core.use_passkey(p_passkey uuid, p_credential jsonb, p_sign_count bigint, p_is_backed_up boolean)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE core.passkey k
       SET credential = p_credential, sign_count = greatest(k.sign_count, p_sign_count), is_backed_up = p_is_backed_up,
           last_used_at = greatest(core.gate_time(), k.created_at)
     WHERE k.passkey_id = p_passkey
$$;

-- Something that auditors hear of a passkey.
CREATE FUNCTION core.record_passkey_event(
    p_user uuid, p_session uuid, p_action text, p_passkey uuid, p_outcome text, p_request_id text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tenant bigint;
BEGIN
    SELECT u.tenant_id INTO v_tenant FROM core.user u WHERE u.user_id = p_user;
    PERFORM core.record_audit(v_tenant, p_user, p_session, p_action, p_passkey, p_outcome, p_request_id);
    IF p_action IN ('passkey.added', 'passkey.removed', 'passkey.counter_went_back') AND p_outcome = 'done' THEN
        INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload)
        VALUES (v_tenant, p_action, p_user, jsonb_build_object('passkey_id', p_passkey));
    END IF;
END $$;

-- Adds a passkey to the user whom the transaction is bound to, whose factors are held, with recovery codes where they are given,
-- and ends every other session: those were opened without it. Outcomes: added; too_many; known, to him or to somebody else.
CREATE FUNCTION core.add_passkey(
    p_session uuid, p_passkey uuid, p_credential_id bytea, p_credential jsonb, p_sign_count bigint, p_is_backed_up boolean,
    p_name text, p_most bigint, p_code_hashes bytea[], p_used_s int, p_request_id text)
RETURNS TABLE (outcome text, ended uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
BEGIN
    IF (SELECT count(*) FROM core.passkey k WHERE k.user_id = v_user) >= p_most THEN
        RETURN QUERY SELECT 'too_many', '{}'::uuid[];
        RETURN;
    END IF;
    INSERT INTO core.passkey (passkey_id, user_id, credential_id, credential, sign_count, is_backed_up, name, created_at)
    VALUES (p_passkey, v_user, p_credential_id, p_credential, p_sign_count, p_is_backed_up, p_name, core.gate_time())
    ON CONFLICT ON CONSTRAINT passkey_credential_id_known_once DO NOTHING;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'known', '{}'::uuid[];
        RETURN;
    END IF;
    DELETE FROM core.login_challenge c WHERE c.user_id = v_user;
    IF cardinality(p_code_hashes) > 0 THEN PERFORM core.put_recovery_codes(v_user, p_code_hashes); END IF;
    PERFORM core.record_passkey_event(v_user, p_session, 'passkey.added', p_passkey, 'done', p_request_id);
    RETURN QUERY SELECT 'added', coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}')
      FROM core.end_sessions(v_user, NULL, p_session, 'factor_added', p_used_s, p_request_id) e;
END $$;

-- Removes a passkey of the user whom the transaction is bound to, whose factors are held, and ends every other session. With the
-- last second factor the recovery codes go. No row: he has no such passkey.
CREATE FUNCTION core.remove_passkey(p_session uuid, p_passkey uuid, p_used_s int, p_request_id text)
RETURNS TABLE (ended uuid[]) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
BEGIN
    DELETE FROM core.passkey k WHERE k.passkey_id = p_passkey AND k.user_id = v_user;
    IF NOT FOUND THEN RETURN; END IF;
    PERFORM core.forget_proofs(v_user);
    PERFORM core.record_passkey_event(v_user, p_session, 'passkey.removed', p_passkey, 'done', p_request_id);
    RETURN QUERY SELECT coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}')
      FROM core.end_sessions(v_user, NULL, p_session, 'factor_removed', p_used_s, p_request_id) e;
END $$;

-- Names a passkey of the user whom the transaction is bound to. False: he has no such passkey.
CREATE FUNCTION core.name_passkey(p_session uuid, p_passkey uuid, p_name text, p_request_id text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
BEGIN
    UPDATE core.passkey k SET name = p_name WHERE k.passkey_id = p_passkey AND k.user_id = v_user;
    IF NOT FOUND THEN RETURN false; END IF;
    PERFORM core.record_passkey_event(v_user, p_session, 'passkey.named', p_passkey, 'done', p_request_id);
    RETURN true;
END $$;

-- What was shown with a factor that is removed: log-ins that await one, confirmations that were not used, and with the last factor
-- the recovery codes.
CREATE FUNCTION core.forget_proofs(p_user uuid)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM core.recovery_code c WHERE c.user_id = p_user AND NOT core.has_second_factor(p_user);
    DELETE FROM core.login_challenge c WHERE c.user_id = p_user;
    DELETE FROM core.step_up t WHERE t.user_id = p_user AND t.used_for IS NULL;
    DELETE FROM core.passkey_ceremony c WHERE c.user_id = p_user
$$;

-- As before, with passkeys: an operator removes all that a person has, the owner of an authenticator that one.
CREATE OR REPLACE FUNCTION core.remove_factors(p_user uuid, p_except uuid, p_outcome text, p_used_s int, p_request_id text)
RETURNS TABLE (email text, ended uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_email text;
    v_is_removed boolean;
BEGIN
    SELECT u.email INTO v_email FROM core.user u WHERE u.user_id = p_user FOR NO KEY UPDATE;
    DELETE FROM core.totp_factor f WHERE f.user_id = p_user AND f.confirmed_at IS NOT NULL;
    v_is_removed := FOUND;
    IF p_outcome = 'operator' THEN
        DELETE FROM core.passkey k WHERE k.user_id = p_user;
        v_is_removed := v_is_removed OR FOUND;
    END IF;
    IF NOT v_is_removed THEN
        IF p_outcome = 'operator' THEN
            PERFORM core.record_factor_event(p_user, NULL, 'factor.removed', 'operator_nothing', p_request_id);
        END IF;
        RETURN;
    END IF;
    PERFORM core.forget_proofs(p_user);
    PERFORM core.record_factor_event(p_user, p_except, 'factor.removed', p_outcome, p_request_id);
    RETURN QUERY SELECT v_email, coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}')
      FROM core.end_sessions(p_user, NULL, p_except, CASE WHEN p_outcome = 'operator' THEN 'operator' ELSE 'factor_removed' END,
                             p_used_s, p_request_id) e;
END $$;

-- As before, but for whoever has recovery codes already, which stay: p_code_hashes is empty then.
CREATE OR REPLACE FUNCTION core.confirm_totp(p_session uuid, p_step bigint, p_code_hashes bytea[], p_used_s int, p_request_id text)
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
    IF cardinality(p_code_hashes) > 0 THEN PERFORM core.put_recovery_codes(v_user, p_code_hashes); END IF;
    PERFORM core.record_factor_event(v_user, p_session, 'factor.added', 'done', p_request_id);
    SELECT coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}') INTO v_ended
      FROM core.end_sessions(v_user, NULL, p_session, 'factor_added', p_used_s, p_request_id) e;
    RETURN v_ended;
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
        RETURNING 1),
    ceremonies AS (
        DELETE FROM core.passkey_ceremony WHERE token_hash IN (
            SELECT token_hash FROM core.passkey_ceremony WHERE expires_at < core.gate_time()
             ORDER BY expires_at LIMIT p_most FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT (SELECT count(*) FROM counters) + (SELECT count(*) FROM devices) + (SELECT count(*) FROM challenges)
         + (SELECT count(*) FROM step_ups) + (SELECT count(*) FROM used_step_ups) + (SELECT count(*) FROM enrolments)
         + (SELECT count(*) FROM ceremonies)
$$;

REVOKE ALL ON FUNCTION core.begin_own_ceremony, core.begin_passkey_log_in, core.use_ceremony, core.hold_passkey, core.use_passkey,
    core.record_passkey_event, core.add_passkey, core.remove_passkey, core.name_passkey, core.forget_proofs FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.begin_own_ceremony, core.begin_passkey_log_in, core.use_ceremony, core.hold_passkey, core.use_passkey,
    core.record_passkey_event, core.add_passkey, core.remove_passkey, core.name_passkey TO portico_core;
