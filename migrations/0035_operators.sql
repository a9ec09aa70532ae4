-- What operators do to the account of a person: sign it out everywhere, disable it, enable it again.

-- What a disabled account was, and is again when it is enabled.
ALTER TABLE core.user
    ADD COLUMN status_before text CONSTRAINT user_status_before_known CHECK (status_before IN ('pending', 'active')),
    ADD CONSTRAINT user_status_before_when CHECK (status_before IS NULL OR status = 'disabled');

-- As before, but for who did it: an operator at the command line is nobody's user.
CREATE OR REPLACE FUNCTION core.end_sessions(
    p_user uuid, p_only uuid, p_except uuid, p_reason text, p_used_s int, p_request_id text)
RETURNS TABLE (session_id uuid, has_tokens boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_actor uuid := CASE WHEN p_reason <> 'operator' THEN p_user END;
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
        PERFORM core.record_audit(v_tenant, v_actor, v_ended.session_id, 'session.revoked', v_ended.session_id, p_reason,
                                  p_request_id);
        RETURN QUERY SELECT v_ended.session_id, v_ended.last_used_at > v_now - make_interval(secs => p_used_s);
    END LOOP;
END $$;

-- Disables an account or enables it; p_status NULL leaves it as it is. Unless it is enabled, every session ends, no log-in that
-- awaits its second factor and no change of address goes on, and no device is trusted. Says whether the status is another now, how many sessions have
-- ended, and those of them whose access tokens may still be good.
CREATE FUNCTION core.operate_account(p_user uuid, p_status text, p_used_s int, p_request_id text)
RETURNS TABLE (is_changed boolean, sessions bigint, with_tokens uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_user record;
    v_action text;
    v_device uuid;
BEGIN
    SELECT u.tenant_id, u.status INTO STRICT v_user FROM core.user u WHERE u.user_id = p_user FOR NO KEY UPDATE;
    IF p_status = 'disabled' AND v_user.status <> 'disabled' THEN
        UPDATE core.user u SET status = 'disabled', status_before = u.status WHERE u.user_id = p_user;
        v_action := 'account.disabled';
    ELSIF p_status = 'active' AND v_user.status = 'disabled' THEN
        UPDATE core.user u
           -- The mailbox may have been verified meanwhile.
           SET status = CASE WHEN u.email_verified_at IS NULL THEN coalesce(u.status_before, 'pending') ELSE 'active' END,
               status_before = NULL
         WHERE u.user_id = p_user;
        v_action := 'account.enabled';
    END IF;
    IF v_action IS NOT NULL THEN
        INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload) VALUES (v_user.tenant_id, v_action, p_user, '{}');
    END IF;
    -- What changed nothing leaves its trace, too.
    PERFORM core.record_audit(v_user.tenant_id, NULL, NULL,
                              CASE p_status WHEN 'disabled' THEN 'account.disabled' WHEN 'active' THEN 'account.enabled'
                                            ELSE 'account.signed_out' END,
                              p_user, CASE WHEN p_status IS NULL OR v_action IS NOT NULL THEN 'operator' ELSE 'operator_nothing' END,
                              p_request_id);
    IF p_status = 'active' THEN
        RETURN QUERY SELECT v_action IS NOT NULL, 0::bigint, '{}'::uuid[];
        RETURN;
    END IF;
    DELETE FROM core.login_challenge c WHERE c.user_id = p_user;
    -- A change of address that waits may be a thief's.
    DELETE FROM core.ticket t WHERE t.user_id = p_user AND t.kind = 'change_email';
    FOR v_device IN DELETE FROM core.trusted_device d WHERE d.user_id = p_user RETURNING d.device_id LOOP
        PERFORM core.record_audit(v_user.tenant_id, NULL, NULL, 'device.distrusted', v_device, 'operator', p_request_id);
    END LOOP;
    RETURN QUERY
    SELECT v_action IS NOT NULL, count(*), coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}')
      FROM core.end_sessions(p_user, NULL, NULL, 'operator', p_used_s, p_request_id) e;
END $$;

REVOKE ALL ON FUNCTION core.operate_account FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.operate_account TO portico_core;
