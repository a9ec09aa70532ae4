-- Every write to identity, as functions. A service role has no other way, and each writes its audit row in the same
-- statement. Time is the database's: a session cannot outlive itself on a machine with a wrong clock.

-- A refused login, a refused refresh and an unknown address leave an audit row of the same shape.
CREATE FUNCTION core.record_audit(
    p_tenant bigint, p_actor uuid, p_session uuid, p_action text, p_object uuid, p_outcome text, p_request_id text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO core.audit_event (tenant_id, actor_id, session_id, action, object_id, outcome, request_id)
    VALUES (p_tenant, p_actor, p_session, p_action, p_object, p_outcome, p_request_id)
$$;

-- Registers a user with the tenant `default`. A known address changes nothing; the caller answers the same either way.
CREATE FUNCTION core.register_user(
    p_user uuid, p_email text, p_full_name text, p_password_hash text, p_active boolean, p_created_at timestamptz, p_request_id text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tenant bigint;
BEGIN
    SELECT t.tenant_id INTO STRICT v_tenant FROM core.tenant t WHERE t.slug = 'default';
    INSERT INTO core.user (user_id, tenant_id, email, full_name, password_hash, status, created_at)
    VALUES (p_user, v_tenant, p_email, p_full_name, p_password_hash, CASE WHEN p_active THEN 'active' ELSE 'pending' END, p_created_at)
    ON CONFLICT ON CONSTRAINT user_email_unique DO NOTHING;
    IF NOT FOUND THEN
        PERFORM core.record_audit(v_tenant, NULL, NULL, 'user.registered', NULL, 'known_address', p_request_id);
        RETURN false;
    END IF;
    INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload) VALUES (v_tenant, 'user.registered', p_user, '{}');
    PERFORM core.record_audit(v_tenant, p_user, NULL, 'user.registered', p_user, 'done', p_request_id);
    RETURN true;
END $$;

-- What a login needs to know about an address. No row for an unknown one.
CREATE FUNCTION core.login_candidate(p_email text)
RETURNS TABLE (user_id uuid, status text, password_hash text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.user_id, u.status, u.password_hash FROM core.user u WHERE u.email = p_email
$$;

CREATE FUNCTION core.refuse_login(p_user uuid, p_request_id text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT core.record_audit((SELECT u.tenant_id FROM core.user u WHERE u.user_id = p_user), p_user, NULL,
                             'login.refused', p_user, 'refused', p_request_id)
$$;

-- Opens a session with its first refresh token. Reads the active signing key and the time in the same transaction that
-- writes the session row: an issuer cannot use an old key for longer than one statement. No row: the user is not
-- active any more. A row whose kid is NULL: there is no active key. Nothing was written in either case.
CREATE FUNCTION core.open_session(
    p_user uuid, p_session uuid, p_refresh uuid, p_secret_hash bytea, p_access uuid,
    p_idle_s int, p_absolute_s int, p_rehashed text, p_request_id text)
RETURNS TABLE (tenant_public_id uuid, kid text, issued_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_kid text;
    v_tenant bigint;
    v_public uuid;
BEGIN
    SELECT u.tenant_id, t.public_id INTO v_tenant, v_public
      FROM core.user u JOIN core.tenant t ON t.tenant_id = u.tenant_id
     WHERE u.user_id = p_user AND u.status = 'active' FOR SHARE OF u;
    IF NOT FOUND THEN RETURN; END IF;
    SELECT k.kid INTO v_kid FROM control.signing_key k WHERE k.ring = 'access' AND k.state = 'active';
    IF NOT FOUND THEN
        RETURN QUERY SELECT v_public, NULL::text, date_trunc('second', v_now);
        RETURN;
    END IF;
    IF p_rehashed IS NOT NULL THEN
        UPDATE core.user u SET password_hash = p_rehashed WHERE u.user_id = p_user;
    END IF;
    INSERT INTO core.session (session_id, user_id, created_at, last_used_at, absolute_expires_at)
    VALUES (p_session, p_user, v_now, v_now, v_now + make_interval(secs => p_absolute_s));
    INSERT INTO core.refresh_token (refresh_token_id, session_id, secret_hash, issued_at, expires_at,
                                    access_token_id, access_issued_at, access_kid)
    VALUES (p_refresh, p_session, p_secret_hash, v_now, v_now + make_interval(secs => least(p_idle_s, p_absolute_s)),
            p_access, date_trunc('second', v_now), v_kid);
    INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload)
    VALUES (v_tenant, 'session.opened', p_session, jsonb_build_object('user_id', p_user));
    PERFORM core.record_audit(v_tenant, p_user, p_session, 'session.opened', p_session, 'done', p_request_id);
    RETURN QUERY SELECT v_public, v_kid, date_trunc('second', v_now);
END $$;

-- Rotates a refresh token. Outcomes:
--   rotated     the successor given here is the live one now
--   replayed    the very same request again (same key, within 60 s, successor unused): give the same answer again
--   superseded  another request rotated it within the last 10 s: refused, nothing else happens
--   reused      a consumed token came back: the whole family is revoked
--   ended       the session or the token is over, or the user is not active
--   unknown     no such token, or the secret is wrong
--   no_key      no active signing key: nothing was written
CREATE FUNCTION core.rotate_refresh_token(
    p_refresh uuid, p_secret_hash bytea, p_new_refresh uuid, p_new_secret_hash bytea, p_new_access uuid,
    p_request_key_hash bytea, p_replay_sealed bytea, p_idle_s int, p_request_id text)
RETURNS TABLE (outcome text, user_id uuid, tenant_public_id uuid, session_id uuid, access_token_id uuid, kid text,
               issued_at timestamptz, replay_sealed bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_kid text;
    v_family record;
    v_token record;
    v_next record;
BEGIN
    SELECT k.kid INTO v_kid FROM control.signing_key k WHERE k.ring = 'access' AND k.state = 'active';
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'no_key', NULL::uuid, NULL::uuid, NULL::uuid, NULL::uuid, NULL::text, v_now, NULL::bytea;
        RETURN;
    END IF;
    -- One UPDATE decides: of any number of racing requests exactly one finds consumed_at NULL.
    WITH consumed AS (
        UPDATE core.refresh_token r
           SET consumed_at = v_now, successor_id = p_new_refresh, request_key_hash = p_request_key_hash, replay_sealed = p_replay_sealed
          FROM core.session s JOIN core.user u ON u.user_id = s.user_id
         WHERE r.refresh_token_id = p_refresh AND r.secret_hash = p_secret_hash AND r.consumed_at IS NULL AND r.expires_at > v_now
           AND s.session_id = r.session_id AND s.revoked_at IS NULL AND s.absolute_expires_at > v_now AND u.status = 'active'
        RETURNING r.session_id, s.absolute_expires_at
    )
    INSERT INTO core.refresh_token (refresh_token_id, session_id, secret_hash, issued_at, expires_at,
                                    access_token_id, access_issued_at, access_kid)
    SELECT p_new_refresh, c.session_id, p_new_secret_hash, v_now,
           least(v_now + make_interval(secs => p_idle_s), c.absolute_expires_at), p_new_access, date_trunc('second', v_now), v_kid
      FROM consumed c;
    IF FOUND THEN
        UPDATE core.session s SET last_used_at = v_now FROM core.refresh_token r
         WHERE r.refresh_token_id = p_refresh AND s.session_id = r.session_id;
        SELECT s.session_id, s.user_id, t.public_id, t.tenant_id INTO STRICT v_family
          FROM core.refresh_token r JOIN core.session s ON s.session_id = r.session_id
          JOIN core.user u ON u.user_id = s.user_id JOIN core.tenant t ON t.tenant_id = u.tenant_id
         WHERE r.refresh_token_id = p_refresh;
        PERFORM core.record_audit(v_family.tenant_id, v_family.user_id, v_family.session_id, 'session.refreshed', v_family.session_id, 'done', p_request_id);
        RETURN QUERY SELECT 'rotated', v_family.user_id, v_family.public_id, v_family.session_id, p_new_access, v_kid,
                            date_trunc('second', v_now), NULL::bytea;
        RETURN;
    END IF;

    SELECT r.*, s.user_id, s.revoked_at, s.absolute_expires_at, u.status AS user_status, u.tenant_id, t.public_id AS tenant_public_id
      INTO v_token
      FROM core.refresh_token r JOIN core.session s ON s.session_id = r.session_id
      JOIN core.user u ON u.user_id = s.user_id JOIN core.tenant t ON t.tenant_id = u.tenant_id
     WHERE r.refresh_token_id = p_refresh AND r.secret_hash = p_secret_hash;
    -- The update above may have waited for a twin: the windows below are measured from the present.
    v_now := clock_timestamp();
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'unknown', NULL::uuid, NULL::uuid, NULL::uuid, NULL::uuid, NULL::text, v_now, NULL::bytea;
    ELSIF v_token.revoked_at IS NOT NULL OR v_token.absolute_expires_at <= v_now OR v_token.user_status <> 'active'
          OR v_token.consumed_at IS NULL THEN
        RETURN QUERY SELECT 'ended', v_token.user_id, v_token.tenant_public_id, v_token.session_id, NULL::uuid, NULL::text, v_now, NULL::bytea;
    ELSE
        SELECT n.* INTO STRICT v_next FROM core.refresh_token n WHERE n.refresh_token_id = v_token.successor_id;
        IF p_request_key_hash IS NOT NULL AND v_token.request_key_hash = p_request_key_hash
           AND v_token.consumed_at > v_now - interval '60 seconds' AND v_next.consumed_at IS NULL THEN
            RETURN QUERY SELECT 'replayed', v_token.user_id, v_token.tenant_public_id, v_token.session_id, v_next.access_token_id,
                                v_next.access_kid, v_next.access_issued_at, v_token.replay_sealed;
        ELSIF v_token.consumed_at > v_now - interval '10 seconds' THEN
            RETURN QUERY SELECT 'superseded', v_token.user_id, v_token.tenant_public_id, v_token.session_id, NULL::uuid, NULL::text, v_now, NULL::bytea;
        ELSE
            UPDATE core.session s SET revoked_at = v_now, revoked_reason = 'refresh_reused'
             WHERE s.session_id = v_token.session_id AND s.revoked_at IS NULL;
            INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload)
            VALUES (v_token.tenant_id, 'session.revoked', v_token.session_id,
                    jsonb_build_object('user_id', v_token.user_id, 'reason', 'refresh_reused'));
            PERFORM core.record_audit(v_token.tenant_id, v_token.user_id, v_token.session_id, 'session.revoked', v_token.session_id, 'refresh_reused', p_request_id);
            RETURN QUERY SELECT 'reused', v_token.user_id, v_token.tenant_public_id, v_token.session_id, NULL::uuid, NULL::text, v_now, NULL::bytea;
        END IF;
    END IF;
END $$;

-- Ends a session. False when it was over already.
CREATE FUNCTION core.end_session(p_session uuid, p_user uuid, p_request_id text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tenant bigint;
BEGIN
    UPDATE core.session s SET revoked_at = clock_timestamp(), revoked_reason = 'logout' FROM core.user u
     WHERE s.session_id = p_session AND s.user_id = p_user AND s.revoked_at IS NULL AND s.absolute_expires_at > clock_timestamp()
       AND u.user_id = s.user_id AND u.status = 'active'
    RETURNING u.tenant_id INTO v_tenant;
    IF NOT FOUND THEN RETURN false; END IF;
    INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload)
    VALUES (v_tenant, 'session.revoked', p_session, jsonb_build_object('user_id', p_user, 'reason', 'logout'));
    PERFORM core.record_audit(v_tenant, p_user, p_session, 'session.revoked', p_session, 'logout', p_request_id);
    RETURN true;
END $$;

-- The tenant of a live session of an active user, or NULL. The one definition of “this caller may act”.
CREATE FUNCTION core.live_session_tenant(p_session uuid, p_user uuid, p_tenant uuid)
RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT u.tenant_id
          FROM core.session s JOIN core.user u ON u.user_id = s.user_id JOIN core.tenant t ON t.tenant_id = u.tenant_id
         WHERE s.session_id = p_session AND s.user_id = p_user AND s.revoked_at IS NULL AND s.absolute_expires_at > clock_timestamp()
           AND u.status = 'active' AND t.public_id = p_tenant);
END $$;

-- Begins a read: checks the session and, when it is live, sets tenant and user for the rest of the transaction.
CREATE FUNCTION core.enter_session(p_session uuid, p_user uuid, p_tenant uuid)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tenant bigint := core.live_session_tenant(p_session, p_user, p_tenant);
BEGIN
    IF v_tenant IS NULL THEN RETURN false; END IF;
    PERFORM set_config('app.tenant_id', v_tenant::text, true), set_config('app.user_id', p_user::text, true);
    RETURN true;
END $$;

-- How many users hold a live session that was used within the window.
CREATE FUNCTION core.active_user_count(p_window_s int)
RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT count(DISTINCT s.user_id) FROM core.session s
     WHERE s.revoked_at IS NULL AND s.absolute_expires_at > clock_timestamp()
       AND s.last_used_at > clock_timestamp() - make_interval(secs => p_window_s)
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA core FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.register_user, core.login_candidate, core.refuse_login, core.open_session,
    core.rotate_refresh_token, core.end_session, core.enter_session, core.active_user_count TO portico_core;
