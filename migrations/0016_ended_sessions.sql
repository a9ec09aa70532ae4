-- A session that has ended is told to gateways, so that its access tokens are refused before they expire, whatever stands
-- behind a route. The core itself needs no telling: it looks at the session in every statement.
--
-- Half of the list is kept for what operators revoke: people who sign out, however many, cannot fill it. What finds no room
-- is refused by the core alone, until it expires some minutes later.
CREATE FUNCTION control.revoke_ended_session(p_issuer text, p_name text, p_for_s bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT entries * 2 >= most_entries FROM control.denial_list WHERE list = 'revocations') THEN
        RETURN false;
    END IF;
    PERFORM control.revoke('session', p_issuer, p_name, NULL, clock_timestamp() + p_for_s * interval '1 second', 'the session has ended', 'core-api');
    RETURN true;
END $$;

REVOKE ALL ON FUNCTION control.revoke_ended_session FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.revoke_ended_session TO portico_core;
