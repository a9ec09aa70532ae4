-- Sessions of browsers. The cookie of one is a token of core.refresh_token that is shown with every request and used up by none:
-- whatever ends the session, or uses the token up, ends the browser's.

-- Whose browser it is, while its session is live; idle time begins anew, at most once a minute.
CREATE FUNCTION core.enter_browser(p_token uuid, p_secret_hash bytea, p_idle_s int)
RETURNS TABLE (session_id uuid, user_id uuid, tenant_public_id uuid, language text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_found record;
BEGIN
    SELECT s.session_id, s.user_id, t.public_id, u.language, r.expires_at,
           least(v_now + make_interval(secs => p_idle_s), s.absolute_expires_at) AS idle_until
      INTO v_found
      FROM core.refresh_token r JOIN core.session s ON s.session_id = r.session_id
      JOIN core.user u ON u.user_id = s.user_id JOIN core.tenant t ON t.tenant_id = u.tenant_id
     WHERE r.refresh_token_id = p_token AND r.secret_hash = p_secret_hash AND r.consumed_at IS NULL AND r.expires_at > v_now
       AND s.revoked_at IS NULL AND s.absolute_expires_at > v_now AND u.status = 'active';
    IF NOT FOUND THEN RETURN; END IF;
    IF v_found.expires_at < v_found.idle_until - interval '60 seconds' THEN
        -- Tokens before sessions, as everywhere. One that was ended meanwhile stays so.
        UPDATE core.refresh_token r SET expires_at = v_found.idle_until
         WHERE r.refresh_token_id = p_token AND r.consumed_at IS NULL AND r.expires_at > v_now;
        IF NOT FOUND THEN RETURN; END IF;
        UPDATE core.session s SET last_used_at = v_now WHERE s.session_id = v_found.session_id AND s.revoked_at IS NULL;
    END IF;
    RETURN QUERY SELECT v_found.session_id, v_found.user_id, v_found.public_id, v_found.language;
END $$;

REVOKE ALL ON FUNCTION core.enter_browser FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.enter_browser TO portico_core;
