-- Passwords are changed, and hashes of older systems are brought along.

-- bcrypt is for import alone: such a hash is verified, and replaced by Argon2id at the next log-in. The cost is bounded here
-- as well, so that no import can bring a row that holds a thread for minutes.
ALTER TABLE core.user
    DROP CONSTRAINT user_password_hash_form,
    ADD CONSTRAINT user_password_hash_form CHECK (
        password_hash LIKE '$argon2id$%' OR password_hash ~ '^\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}$');

-- Which password a user has. Read beside the hash, in the same statement.
CREATE FUNCTION core.password_version(p_user uuid)
RETURNS int LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.password_version FROM core.user u WHERE u.user_id = p_user
$$;

-- Whether it is still that password; it stays until the transaction ends. So a log-in with the old password, whose hash was
-- compared while another session changed it, opens no session that the change did not end.
CREATE FUNCTION core.hold_password(p_user uuid, p_version int)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Not shared: two log-ins that renew the hash would wait for each other.
    PERFORM 1 FROM core.user u WHERE u.user_id = p_user AND u.password_version = p_version FOR NO KEY UPDATE;
    RETURN FOUND;
END $$;

-- What the change of a password needs to know of the user whom the transaction is bound to.
CREATE FUNCTION core.own_password()
RETURNS TABLE (email text, full_name text, password_hash text, password_version int)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.email, u.full_name, u.password_hash, u.password_version FROM core.user u
     WHERE u.user_id = nullif(current_setting('app.user_id', true), '')::uuid
$$;

-- Leaves the audit row of what asks for the password once more, when that was wrong.
CREATE FUNCTION core.refuse_password(p_session uuid, p_action text, p_request_id text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT core.record_audit(u.tenant_id, u.user_id, p_session, p_action, u.user_id, 'wrong_password', p_request_id)
      FROM core.user u WHERE u.user_id = nullif(current_setting('app.user_id', true), '')::uuid
$$;

-- Changes the password of the user whom the transaction is bound to, from this version on, ends every session but the one
-- that asks, and forgets links for a new password and a change of address that waits: it may be a thief's. Outcomes:
--   done           the sessions that have ended and were used within p_used_s, whose access tokens may still be good
--   meanwhile      another request has changed it
--   session_ended  the session that asks is over; nothing was written
CREATE FUNCTION core.change_password(p_session uuid, p_version int, p_password_hash text, p_used_s int, p_request_id text)
RETURNS TABLE (outcome text, ended uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_user uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    v_tenant bigint;
    v_ended uuid[] := '{}';
BEGIN
    -- The user first, as a log-in does: of two changes at once one waits, and then finds another version.
    SELECT u.tenant_id INTO v_tenant FROM core.user u
     WHERE u.user_id = v_user AND u.password_version = p_version AND u.status = 'active' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'meanwhile', v_ended;
        RETURN;
    END IF;
    PERFORM 1 FROM core.session s
      WHERE s.session_id = p_session AND s.user_id = v_user AND s.revoked_at IS NULL AND s.absolute_expires_at > v_now FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'session_ended', v_ended;
        RETURN;
    END IF;
    UPDATE core.user u 
       SET password_hash = p_password_hash, password_version = p_version + 1, password_changed_at = v_now
     WHERE u.user_id = v_user;
    DELETE FROM core.ticket t WHERE t.user_id = v_user AND t.kind IN ('reset_password', 'change_email');
    SELECT coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}') INTO v_ended
      FROM core.end_sessions(v_user, NULL, p_session, 'password_changed', p_used_s, p_request_id) e;
    INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload) VALUES (v_tenant, 'password.changed', v_user, '{}');
    PERFORM core.record_audit(v_tenant, v_user, p_session, 'password.changed', v_user, 'done', p_request_id);
    RETURN QUERY SELECT 'done', v_ended;
END $$;

REVOKE ALL ON FUNCTION core.password_version, core.hold_password, core.own_password, core.refuse_password,
    core.change_password FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.password_version, core.hold_password, core.own_password, core.refuse_password,
    core.change_password TO portico_core;
