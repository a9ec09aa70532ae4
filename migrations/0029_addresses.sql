-- Whether an address is its user's, and what follows from it: verification, a new password, another address.
--
-- A ticket is what a mail carries: whoever has it reads the mailbox. Only the SHA-256 of its token is stored, one UPDATE
-- uses it up, and a user has one of a kind for each address.

ALTER TABLE core.user
    ADD COLUMN email_verified_at timestamptz,
    -- Counts changes of the password; a hash that is renewed is the same password.
    ADD COLUMN password_version int NOT NULL DEFAULT 1,
    ADD COLUMN password_changed_at timestamptz,
    ADD COLUMN language text CONSTRAINT user_language_form CHECK (language ~ '^[a-z]{2}$');
-- Whoever was made active before there was mail is believed.
UPDATE core.user SET email_verified_at = created_at WHERE status <> 'pending';

-- Why a session ended is said by whoever ends it.
ALTER TABLE core.session
    DROP CONSTRAINT session_revoked_reason_known,
    ADD CONSTRAINT session_revoked_reason_form CHECK (revoked_reason ~ '^[a-z_]+$');

CREATE TABLE core.ticket (
    user_id      uuid        NOT NULL REFERENCES core.user ON DELETE CASCADE,
    kind         text        NOT NULL CONSTRAINT ticket_kind_form CHECK (kind ~ '^[a-z_]+$'),
    email        text        NOT NULL,                   -- the mailbox that it was sent to
    token_hash   bytea       NOT NULL CONSTRAINT ticket_token_hash_length CHECK (octet_length(token_hash) = 32)
                             CONSTRAINT ticket_token_hash_unique UNIQUE,
    requested_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    consumed_at  timestamptz,
    CONSTRAINT ticket_pkey PRIMARY KEY (user_id, kind, email)
);
CREATE INDEX ticket_expires ON core.ticket (expires_at);
CREATE INDEX ticket_reserves ON core.ticket (email) WHERE kind = 'keep_email';

ALTER TABLE core.ticket ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.ticket FORCE ROW LEVEL SECURITY;
CREATE POLICY ticket_definer ON core.ticket TO portico_owner USING (true) WITH CHECK (true);
REVOKE ALL ON core.ticket FROM PUBLIC;
GRANT SELECT (user_id, kind, requested_at, expires_at, consumed_at) ON core.ticket TO portico_auditor;
GRANT SELECT (email_verified_at, language) ON core.user TO portico_core;
GRANT SELECT (language) ON core.user TO portico_auditor;

-- Gives a user a ticket in place of the last of its kind. False when a later request gave him another, or when this very
-- ticket has been used: a mail that is sent once more makes no used ticket good again.
CREATE FUNCTION core.give_ticket(
    p_user uuid, p_kind text, p_email text, p_token_hash bytea, p_requested_at timestamptz, p_for_s int)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO core.ticket AS known (user_id, kind, email, token_hash, requested_at, expires_at)
    VALUES (p_user, p_kind, p_email, p_token_hash, p_requested_at, clock_timestamp() + make_interval(secs => p_for_s))
    ON CONFLICT ON CONSTRAINT ticket_pkey DO UPDATE
       SET token_hash = excluded.token_hash, requested_at = greatest(known.requested_at, excluded.requested_at),
           expires_at = excluded.expires_at, consumed_at = NULL
     WHERE CASE WHEN known.token_hash = excluded.token_hash THEN known.consumed_at IS NULL
                ELSE known.requested_at < excluded.requested_at END;
    RETURN FOUND;
END $$;

-- Uses a ticket up. No row: there is no such ticket, or it was used, replaced or is over.
CREATE FUNCTION core.use_ticket(p_kind text, p_token_hash bytea)
RETURNS TABLE (user_id uuid, email text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    -- The user before the ticket, as everywhere: two that take them in turns would wait for each other.
    PERFORM FROM core.user u
      WHERE u.user_id = (SELECT t.user_id FROM core.ticket t WHERE t.kind = p_kind AND t.token_hash = p_token_hash)
      FOR NO KEY UPDATE;
    RETURN QUERY
    UPDATE core.ticket t SET consumed_at = clock_timestamp()
     WHERE t.kind = p_kind AND t.token_hash = p_token_hash AND t.consumed_at IS NULL AND t.expires_at > clock_timestamp()
    RETURNING t.user_id, t.email;
END $$;

-- When a mail with a ticket for an address is about to be sent: who it is for, or no row when there is nobody to send it to
-- any more, or its own ticket was used: a copy of it. `is_known`: the address is verified already, so there is no ticket to
-- verify it. `is_contested`: several have registered with it, so whoever reads the mailbox sets the password, with a ticket for
-- that: of a mail that belongs to no registration of its own (p_is_resent).
CREATE FUNCTION core.ticket_by_mail(
    p_email text, p_kind text, p_is_resent boolean, p_token_hash bytea, p_requested_at timestamptz, p_for_s int)
RETURNS TABLE (full_name text, language text, is_known boolean, is_contested boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_user core.user;
    v_is_contested boolean;
BEGIN
    SELECT u.* INTO v_user FROM core.user u WHERE u.email = p_email AND u.status <> 'disabled' FOR NO KEY UPDATE;
    -- After a day nobody waits for it, and whether its ticket was used is not known any more.
    -- Nor is a password set anew by what was asked for before it changed.
    IF NOT FOUND OR p_requested_at < clock_timestamp() - interval '1 day'
       OR (p_kind = 'reset_password' AND p_requested_at < v_user.password_changed_at)
       OR EXISTS (SELECT FROM core.ticket t WHERE t.token_hash = p_token_hash AND t.consumed_at IS NOT NULL) THEN
        RETURN;
    END IF;
    IF p_kind = 'verify_email' AND v_user.email_verified_at IS NOT NULL THEN
        RETURN QUERY SELECT v_user.full_name, v_user.language, true, false;
        RETURN;
    END IF;
    v_is_contested := p_is_resent AND v_user.status = 'pending' AND v_user.password_version > 1;
    IF core.give_ticket(v_user.user_id, CASE WHEN v_is_contested THEN 'reset_password' ELSE p_kind END, p_email, p_token_hash,
                        p_requested_at, p_for_s) THEN
        RETURN QUERY SELECT v_user.full_name, v_user.language, false, v_is_contested;
    END IF;
END $$;

-- Who a mail to a user is for. No row once the user is gone.
CREATE FUNCTION core.mail_addressee(p_user uuid)
RETURNS TABLE (full_name text, language text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.full_name, u.language FROM core.user u WHERE u.user_id = p_user
$$;

-- Whether an address may become somebody's: nobody has it, and nobody may take it back. A user who never verified it and
-- never logged in makes room for p_for, who has.
CREATE FUNCTION core.make_room_for_address(p_email text, p_for uuid)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM core.user u
     WHERE u.email = p_email AND u.user_id <> p_for AND u.status = 'pending' AND u.email_verified_at IS NULL
       AND NOT EXISTS (SELECT FROM core.session s WHERE s.user_id = u.user_id);
    RETURN NOT EXISTS (SELECT FROM core.user u WHERE u.email = p_email AND u.user_id <> p_for)
       AND NOT EXISTS (SELECT FROM core.ticket t
                        WHERE t.kind = 'keep_email' AND t.email = p_email AND t.user_id <> p_for
                          AND t.consumed_at IS NULL AND t.expires_at > clock_timestamp());
END $$;

-- Registers a user with the tenant `default`, whose mail is in the queue of the same transaction. A verified or active
-- address changes nothing. A registration that was never verified gives way to the newest one, and its ticket with it: the
-- password that becomes good is the one of the registration whose mail is answered. Without a mail (p_is_queued false, the
-- address has had too many) nobody's registration can be verified until another mail is sent. The caller answers the same every
-- time.
CREATE FUNCTION core.register_applicant(
    p_user uuid, p_email text, p_full_name text, p_password_hash text, p_active boolean, p_created_at timestamptz,
    p_language text, p_token_hash bytea, p_for_s int, p_is_queued boolean, p_request_id text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tenant bigint;
    v_known core.user;
    v_user uuid;
    v_outcome text := 'known_address';
BEGIN
    SELECT t.tenant_id INTO STRICT v_tenant FROM core.tenant t WHERE t.slug = 'default';
    SELECT u.* INTO v_known FROM core.user u WHERE u.email = p_email FOR NO KEY UPDATE;
    IF NOT p_is_queued THEN
        v_outcome := 'limited';
        IF v_known.status = 'pending' AND v_known.email_verified_at IS NULL THEN
            -- Of two who want the address nobody knows whose mail would be answered.
            UPDATE core.user u SET password_version = u.password_version + 1 WHERE u.user_id = v_known.user_id;
            UPDATE core.ticket t SET consumed_at = clock_timestamp()
             WHERE t.user_id = v_known.user_id AND t.kind = 'verify_email' AND t.consumed_at IS NULL;
        END IF;
    ELSIF v_known.status = 'pending' AND v_known.email_verified_at IS NULL THEN
        UPDATE core.user u
           SET full_name = p_full_name, password_hash = p_password_hash, password_version = u.password_version + 1,
               language = p_language
         WHERE u.user_id = v_known.user_id;
        v_user := v_known.user_id;
        v_outcome := 'renewed';
    ELSIF v_known.user_id IS NULL AND core.make_room_for_address(p_email, p_user) THEN
        INSERT INTO core.user (user_id, tenant_id, email, full_name, password_hash, status, created_at, language)
        VALUES (p_user, v_tenant, p_email, p_full_name, p_password_hash, CASE WHEN p_active THEN 'active' ELSE 'pending' END,
                p_created_at, p_language)
        ON CONFLICT ON CONSTRAINT user_email_unique DO NOTHING RETURNING user_id INTO v_user;
        IF FOUND THEN
            v_outcome := 'done';
            INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload) VALUES (v_tenant, 'user.registered', p_user, '{}');
        END IF;
    END IF;
    IF v_user IS NOT NULL THEN
        -- At once: from here on a mail of an earlier registration is worth nothing.
        PERFORM core.give_ticket(v_user, 'verify_email', p_email, p_token_hash, clock_timestamp(), p_for_s);
    END IF;
    PERFORM core.record_audit(v_tenant, v_user, NULL, 'user.registered', v_user, v_outcome, p_request_id);
END $$;

-- An address is its owner's: of a registration, or the new one of a change. NULL: the ticket is not good.
CREATE FUNCTION core.verify_email(p_token_hash bytea, p_request_id text)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_ticket record;
    v_tenant bigint;
BEGIN
    SELECT t.user_id, t.email INTO v_ticket FROM core.use_ticket('verify_email', p_token_hash) t;
    IF FOUND THEN
        UPDATE core.user u
           SET email_verified_at = clock_timestamp(), status = CASE u.status WHEN 'pending' THEN 'active' ELSE u.status END
         WHERE u.user_id = v_ticket.user_id AND u.email = v_ticket.email
        RETURNING u.tenant_id INTO v_tenant;
        IF NOT FOUND THEN RETURN NULL; END IF;
        INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload)
        VALUES (v_tenant, 'user.verified', v_ticket.user_id, '{}');
        PERFORM core.record_audit(v_tenant, v_ticket.user_id, NULL, 'user.verified', v_ticket.user_id, 'done', p_request_id);
        RETURN 'verified';
    END IF;
    SELECT t.user_id, t.email INTO v_ticket FROM core.use_ticket('change_email', p_token_hash) t;
    IF NOT FOUND OR NOT core.make_room_for_address(v_ticket.email, v_ticket.user_id) THEN RETURN NULL; END IF;
    BEGIN
        UPDATE core.user u SET email = v_ticket.email, email_verified_at = clock_timestamp()
         WHERE u.user_id = v_ticket.user_id AND u.status = 'active'
        RETURNING u.tenant_id INTO v_tenant;
        IF NOT FOUND THEN RETURN NULL; END IF;
    EXCEPTION WHEN unique_violation THEN -- somebody registered with it this very moment
        RETURN NULL;
    END;
    -- What was sent to the old address opens nothing any more.
    DELETE FROM core.ticket t WHERE t.user_id = v_ticket.user_id AND t.kind NOT IN ('keep_email', 'change_email');
    INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload)
    VALUES (v_tenant, 'user.email_changed', v_ticket.user_id, '{}');
    PERFORM core.record_audit(v_tenant, v_ticket.user_id, NULL, 'user.email_changed', v_ticket.user_id, 'done', p_request_id);
    RETURN 'changed';
END $$;

-- Whose password a ticket would reset, before a new one is hashed. Uses nothing up.
CREATE FUNCTION core.password_reset_candidate(p_token_hash bytea)
RETURNS TABLE (email text, full_name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.email, u.full_name FROM core.ticket t JOIN core.user u ON u.user_id = t.user_id AND u.email = t.email
     WHERE t.kind = 'reset_password' AND t.token_hash = p_token_hash AND t.consumed_at IS NULL
       AND t.expires_at > clock_timestamp() AND u.status <> 'disabled'
$$;

-- Sets a new password and ends every session; whoever can read the mailbox has verified it, too. A change of address that
-- waits is forgotten: it may be a thief's. No row: the ticket is not good.
CREATE FUNCTION core.reset_password(p_token_hash bytea, p_password_hash text, p_request_id text)
RETURNS TABLE (user_id uuid, email text, ended uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_ticket record;
    v_tenant bigint;
    v_ended uuid[];
BEGIN
    SELECT t.user_id, t.email INTO v_ticket FROM core.use_ticket('reset_password', p_token_hash) t;
    IF NOT FOUND THEN RETURN; END IF;
    UPDATE core.user u
       SET password_hash = p_password_hash, password_version = u.password_version + 1, password_changed_at = clock_timestamp(),
           email_verified_at = coalesce(u.email_verified_at, clock_timestamp()), status = 'active'
     WHERE u.user_id = v_ticket.user_id AND u.email = v_ticket.email AND u.status <> 'disabled'
    RETURNING u.tenant_id INTO v_tenant;
    IF NOT FOUND THEN RETURN; END IF;
    DELETE FROM core.ticket t WHERE t.user_id = v_ticket.user_id AND t.kind IN ('verify_email', 'change_email');
    SELECT coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}') INTO v_ended
      FROM core.end_sessions(v_ticket.user_id, NULL, NULL, 'password_reset', 960, p_request_id) e; -- no access token lives for 16 minutes
    INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload)
    VALUES (v_tenant, 'user.password_reset', v_ticket.user_id, '{}');
    PERFORM core.record_audit(v_tenant, v_ticket.user_id, NULL, 'user.password_reset', v_ticket.user_id, 'done', p_request_id);
    RETURN QUERY SELECT v_ticket.user_id, v_ticket.email, v_ended;
END $$;

-- Notes that the user of this transaction's session, whose password has this version, wants another address: a ticket for the
-- new mailbox to agree, one for the old mailbox to stop it, before and after. Gives the old address; NULL when the session is
-- over, or the password has changed.
CREATE FUNCTION core.request_email_change(
    p_session uuid, p_user uuid, p_tenant uuid, p_version int, p_email text, p_change_hash bytea, p_change_s int,
    p_keep_hash bytea, p_keep_s int, p_request_id text)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_tenant bigint;
    v_now timestamptz := clock_timestamp();
    v_old text;
BEGIN
    -- The user first: whoever changes the password holds him, and ends this session or the right of this request.
    SELECT u.email INTO v_old FROM core.user u
     WHERE u.user_id = p_user AND u.password_version = p_version FOR NO KEY UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    v_tenant := core.live_session_tenant(p_session, p_user, p_tenant);
    IF v_tenant IS NULL THEN RETURN NULL; END IF;
    DELETE FROM core.ticket t WHERE t.user_id = p_user AND t.kind = 'change_email';
    PERFORM core.give_ticket(p_user, 'change_email', p_email, p_change_hash, v_now, p_change_s),
            core.give_ticket(p_user, 'keep_email', v_old, p_keep_hash, v_now, p_keep_s),
            core.record_audit(v_tenant, p_user, p_session, 'user.email_change_requested', p_user, 'done', p_request_id);
    RETURN v_old;
END $$;

-- The old mailbox says no: its address is the user's again, every session ends, and so does the password, which whoever asked
-- for the change knew: p_nobody is the hash of one that nobody knows. No other ticket of the user is good, but those of
-- mailboxes that were his before this one: a thief's own mailbox takes nothing from them. No row: the ticket is not good.
CREATE FUNCTION core.keep_email(p_token_hash bytea, p_nobody text, p_request_id text)
RETURNS TABLE (user_id uuid, email text, ended uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_ticket record;
    v_tenant bigint;
    v_asked_at timestamptz;
    v_ended uuid[];
BEGIN
    SELECT t.user_id, t.email INTO v_ticket FROM core.use_ticket('keep_email', p_token_hash) t;
    IF NOT FOUND OR NOT core.make_room_for_address(v_ticket.email, v_ticket.user_id) THEN RETURN; END IF;
    SELECT u.tenant_id INTO STRICT v_tenant FROM core.user u WHERE u.user_id = v_ticket.user_id;
    -- Before the address: a session that is refreshed looks at its user, which a change of the key would keep it from.
    SELECT coalesce(array_agg(e.session_id) FILTER (WHERE e.has_tokens), '{}') INTO v_ended
      FROM core.end_sessions(v_ticket.user_id, NULL, NULL, 'email_kept', 960, p_request_id) e; -- no access token lives for 16 minutes
    UPDATE core.user u
       SET email = v_ticket.email, password_hash = p_nobody, password_version = u.password_version + 1,
           password_changed_at = clock_timestamp()
     WHERE u.user_id = v_ticket.user_id;
    SELECT t.requested_at INTO STRICT v_asked_at FROM core.ticket t WHERE t.token_hash = p_token_hash;
    DELETE FROM core.ticket t
     WHERE t.user_id = v_ticket.user_id AND t.consumed_at IS NULL AND NOT (t.kind = 'keep_email' AND t.requested_at < v_asked_at);
    INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload)
    VALUES (v_tenant, 'user.email_kept', v_ticket.user_id, '{}');
    PERFORM core.record_audit(v_tenant, v_ticket.user_id, NULL, 'user.email_kept', v_ticket.user_id, 'done', p_request_id);
    RETURN QUERY SELECT v_ticket.user_id, v_ticket.email, v_ended;
END $$;

-- Removes tickets that have been over for a day, at most p_limit: an old address is a personal datum.
CREATE FUNCTION core.purge_tickets(p_limit int)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count bigint;
BEGIN
    DELETE FROM core.ticket t
     WHERE t.token_hash IN (SELECT d.token_hash FROM core.ticket d WHERE d.expires_at < clock_timestamp() - interval '1 day' LIMIT p_limit);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

REVOKE ALL ON FUNCTION core.give_ticket, core.use_ticket, core.ticket_by_mail, core.mail_addressee, core.make_room_for_address,
    core.register_applicant, core.verify_email, core.password_reset_candidate, core.reset_password,
    core.request_email_change, core.keep_email, core.purge_tickets FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.ticket_by_mail, core.mail_addressee, core.register_applicant, core.verify_email,
    core.password_reset_candidate, core.reset_password, core.request_email_change, core.keep_email, core.purge_tickets TO portico_core;
