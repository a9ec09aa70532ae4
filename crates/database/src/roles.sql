DO $roles$
DECLARE
    wanted      constant text[] := ARRAY['portico_owner', 'portico_core', 'portico_control', 'portico_auditor'];
    role        text;
    is_super    boolean;
    -- Before PostgreSQL 16 only a superuser may give BYPASSRLS, since then whoever has it.
    may_bypass  boolean;
    version     constant int := current_setting('server_version_num')::int;
    -- Since PostgreSQL 16 a member is not by itself allowed to SET ROLE.
    membership  constant text := CASE WHEN version >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    -- One at a time: the key is only this block's.
    PERFORM pg_advisory_xact_lock(7305807081234);
    SELECT rolsuper, rolsuper OR (version >= 160000 AND rolbypassrls)
      INTO is_super, may_bypass FROM pg_roles WHERE rolname = current_user;

    FOREACH role IN ARRAY wanted LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            IF role = 'portico_auditor' THEN
                IF may_bypass THEN
                    EXECUTE format('ALTER ROLE %I BYPASSRLS', role);
                ELSE
                    RAISE WARNING 'portico_auditor made without BYPASSRLS, which % may not give: it will see no rows under row-level security', current_user;
                END IF;
                -- A seat belt: what it may do is decided by grants, and it has none but SELECT.
                EXECUTE format('ALTER ROLE %I SET default_transaction_read_only = on', role);
            END IF;
        END IF;
        IF NOT is_super AND NOT pg_has_role(current_user, role, membership) THEN
            EXECUTE format('GRANT %I TO %I', role, current_user);
        END IF;
    END LOOP;

    IF NOT has_database_privilege('portico_owner', current_database(), 'CREATE') THEN
        EXECUTE format('GRANT CREATE ON DATABASE %I TO portico_owner', current_database());
    END IF;
END
$roles$;
