-- Which versions of the key-encryption key the processes have that open private keys: nothing is sealed under one that some of
-- them lack, for they could not sign with the next key.
CREATE TABLE control.kek_holder (
    name       text        PRIMARY KEY CONSTRAINT kek_holder_name_form CHECK (name ~ '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$'),
    versions   integer[]   NOT NULL,
    live_until timestamptz NOT NULL
);

-- Says what a process has, and for how long it counts, at most ten minutes; 0 takes it away. Those that fell silent are taken
-- away with it.
CREATE FUNCTION control.note_kek_holder(p_name text, p_versions integer[], p_live_s integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM control.kek_holder WHERE live_until <= clock_timestamp() OR (name = p_name AND p_live_s <= 0);
    INSERT INTO control.kek_holder (name, versions, live_until)
    SELECT p_name, p_versions, clock_timestamp() + least(p_live_s, 600) * interval '1 second' WHERE p_live_s > 0
        ON CONFLICT (name) DO UPDATE SET versions = excluded.versions, live_until = excluded.live_until
$$;

REVOKE ALL ON control.kek_holder FROM PUBLIC;
REVOKE ALL ON FUNCTION control.note_kek_holder(text, integer[], integer) FROM PUBLIC;
GRANT SELECT ON control.kek_holder TO portico_control, portico_auditor;
GRANT EXECUTE ON FUNCTION control.note_kek_holder(text, integer[], integer) TO portico_core, portico_control;
