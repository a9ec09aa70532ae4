-- A network from which too many passwords were guessed may not sign in for a time. Unlike what an operator blocks, it may do
-- everything else: others behind the same address go on with the sessions they have.

ALTER TABLE control.block ADD COLUMN scope text NOT NULL DEFAULT 'all'
    CONSTRAINT block_scope_known CHECK (scope IN ('all', 'sign_in'));

-- The one way for core-api to block. What an operator blocked stays as it is, and half of the list is kept for operators:
-- however many guess, they cannot fill it. What finds no room is refused by the core alone.
CREATE FUNCTION control.block_sign_in(p_network text, p_for_s bigint, p_request_id text)
RETURNS boolean LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO control.fleet_event (actor, action, subject, request_id)
    VALUES ('core-api', 'sign_in.blocked', p_network, p_request_id);
    IF (SELECT entries * 2 >= most_entries FROM control.denial_list WHERE list = 'blocks') THEN
        RETURN false;
    END IF;
    INSERT INTO control.block AS known (network, until, reason, author, scope)
    VALUES (p_network::cidr, clock_timestamp() + p_for_s * interval '1 second', 'too many failed log-ins', 'core-api', 'sign_in')
    ON CONFLICT ON CONSTRAINT block_pkey DO UPDATE SET until = excluded.until
     WHERE known.scope = 'sign_in' AND excluded.until > known.until;
    RETURN true;
END $$;

REVOKE ALL ON FUNCTION control.block_sign_in FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.block_sign_in TO portico_core;
