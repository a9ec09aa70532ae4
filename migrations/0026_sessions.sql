-- What a person sees of his sessions, and how he ends them.

-- The network and not the address: enough to know one's own device by, and no record of who was where.
ALTER TABLE core.session
    ADD COLUMN name       text CONSTRAINT session_name_length CHECK (char_length(name) BETWEEN 1 AND 64),
    ADD COLUMN user_agent text CONSTRAINT session_user_agent_length CHECK (char_length(user_agent) <= 200),
    ADD COLUMN network    cidr,
    DROP CONSTRAINT session_revoked_reason_known,
    ADD CONSTRAINT session_revoked_reason_known CHECK (revoked_reason IN ('logout', 'refresh_reused', 'ended_by_owner'));

-- Says from where a session was opened; in the statement that opens it.
CREATE FUNCTION core.describe_session(p_session uuid, p_user_agent text, p_address text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE core.session
       SET user_agent = p_user_agent,
           network = network(set_masklen(p_address::inet, CASE family(p_address::inet) WHEN 4 THEN 24 ELSE 48 END))
     WHERE session_id = p_session
$$;

-- Sessions of the user whom the transaction is bound to, and no others.
CREATE POLICY session_self ON core.session FOR SELECT TO portico_core USING (
    user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
GRANT SELECT (session_id, user_id) ON core.session TO portico_core;

-- The live ones of that user, the last used first: those whose last refresh token can still be used.
CREATE FUNCTION core.own_sessions(p_limit int)
RETURNS TABLE (session_id uuid, name text, user_agent text, network text, created_at timestamptz, last_used_at timestamptz, expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.session_id, s.name, s.user_agent, s.network::text, s.created_at, s.last_used_at, r.expires_at
      FROM core.session s JOIN core.refresh_token r ON r.session_id = s.session_id AND r.consumed_at IS NULL
     WHERE s.user_id = nullif(current_setting('app.user_id', true), '')::uuid
       AND s.revoked_at IS NULL AND s.absolute_expires_at > clock_timestamp() AND r.expires_at > clock_timestamp()
     ORDER BY s.last_used_at DESC, s.session_id DESC LIMIT p_limit
$$;

-- False: this user has no such session, or it is over.
CREATE FUNCTION core.name_own_session(p_session uuid, p_name text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE core.session s SET name = p_name
     WHERE s.session_id = p_session AND s.user_id = nullif(current_setting('app.user_id', true), '')::uuid
       AND s.revoked_at IS NULL AND s.absolute_expires_at > clock_timestamp();
    RETURN FOUND;
END $$;

-- Ends live sessions of a user: the one named in p_only, or all but p_except. Gives those that have ended now; of those that
-- were used within p_used_s access tokens may still be good. For other functions: nobody else may execute it.
CREATE FUNCTION core.end_sessions(p_user uuid, p_only uuid, p_except uuid, p_reason text, p_used_s int, p_request_id text)
RETURNS TABLE (session_id uuid, has_tokens boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_tenant bigint;
    v_now timestamptz;
    v_ended record;
BEGIN
    -- Those who end sessions of one user take turns, and log-ins of his wait.
    SELECT u.tenant_id INTO v_tenant FROM core.user u WHERE u.user_id = p_user FOR NO KEY UPDATE;
    -- Tokens before sessions, as a refresh does. One that is under way ends first, and its use of the session is seen below;
    -- one that has to wait finds its token expired before it came.
    UPDATE core.refresh_token r SET expires_at = r.issued_at FROM core.session s
     WHERE s.user_id = p_user AND s.revoked_at IS NULL AND s.absolute_expires_at > clock_timestamp()
       AND (p_only IS NULL OR s.session_id = p_only) AND (p_except IS NULL OR s.session_id <> p_except)
       AND r.session_id = s.session_id AND r.consumed_at IS NULL;
    v_now := clock_timestamp();
    FOR v_ended IN
        UPDATE core.session s SET revoked_at = v_now, revoked_reason = p_reason
         WHERE s.user_id = p_user AND s.revoked_at IS NULL AND s.absolute_expires_at > v_now
           AND (p_only IS NULL OR s.session_id = p_only) AND (p_except IS NULL OR s.session_id <> p_except)
        RETURNING s.session_id, s.last_used_at
    LOOP
        INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload)
        VALUES (v_tenant, 'session.revoked', v_ended.session_id, jsonb_build_object('user_id', p_user, 'reason', p_reason));
        PERFORM core.record_audit(v_tenant, p_user, v_ended.session_id, 'session.revoked', v_ended.session_id, p_reason,
                                  p_request_id);
        RETURN QUERY SELECT v_ended.session_id, v_ended.last_used_at > v_now - make_interval(secs => p_used_s);
    END LOOP;
END $$;

-- The same for the user whom the transaction is bound to, who wants it so.
CREATE FUNCTION core.end_own_sessions(p_only uuid, p_except uuid, p_used_s int, p_request_id text)
RETURNS TABLE (session_id uuid, has_tokens boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.session_id, e.has_tokens
      FROM core.end_sessions(nullif(current_setting('app.user_id', true), '')::uuid, p_only, p_except, 'ended_by_owner',
                             p_used_s, p_request_id) e
$$;

REVOKE ALL ON FUNCTION core.describe_session, core.own_sessions, core.name_own_session, core.end_sessions,
    core.end_own_sessions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.describe_session, core.own_sessions, core.name_own_session, core.end_own_sessions TO portico_core;
