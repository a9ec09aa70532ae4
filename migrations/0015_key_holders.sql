-- Who holds the keys of a ring: gateways that follow key sets and no others, and each core-api that verifies.

-- A gateway that follows no key sets verifies nothing with ours, and is waited for by no rotation. Before it has said so, it is
-- waited for.
ALTER TABLE control.node_stream ADD COLUMN is_followed boolean NOT NULL DEFAULT true;

-- A verifier that reads the rings from the database itself. It is waited for until it has been silent for as long as it said.
CREATE TABLE control.verifier (
    name       text        NOT NULL CONSTRAINT verifier_name_form CHECK (name ~ '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$'),
    ring       text        NOT NULL REFERENCES control.key_ring,
    held_seq   bigint      NOT NULL CONSTRAINT verifier_seq_range CHECK (held_seq >= 0),
    live_until timestamptz NOT NULL,
    PRIMARY KEY (name, ring)
);

-- Says what a verifier holds of a ring, and for how long it is to be waited for, at most ten minutes; 0 takes it away. Those
-- that fell silent are taken away with it.
CREATE FUNCTION control.note_verifier(p_name text, p_ring text, p_seq bigint, p_live_s integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM control.verifier
     WHERE live_until <= clock_timestamp() OR (name = p_name AND ring = p_ring AND p_live_s <= 0);
    INSERT INTO control.verifier (name, ring, held_seq, live_until)
    SELECT p_name, p_ring, p_seq, clock_timestamp() + least(p_live_s, 600) * interval '1 second' WHERE p_live_s > 0
        ON CONFLICT (name, ring) DO UPDATE SET held_seq = excluded.held_seq, live_until = excluded.live_until
$$;

-- Those that live and do not hold this seq of a ring, or a later one: gateways by what was stated to them, other verifiers by
-- what they say.
CREATE OR REPLACE FUNCTION control.gateways_behind(of_ring text, wanted_seq bigint) RETURNS SETOF text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT live_node.name
      FROM control.live_node
     WHERE of_ring = 'access'
       AND NOT EXISTS (SELECT FROM control.node_stream held
                         JOIN control.statement ON statement.stream = held.stream
                                               AND statement.epoch = held.active_epoch AND statement.seq = held.active_seq
                        WHERE held.node = live_node.name AND held.stream = 'keyset' AND statement.source_seq >= wanted_seq)
       AND NOT EXISTS (SELECT FROM control.node_stream other
                        WHERE other.node = live_node.name AND other.stream = 'keyset' AND NOT other.is_followed)
    UNION ALL
    SELECT name FROM control.verifier
     WHERE ring = of_ring AND held_seq < wanted_seq AND live_until > clock_timestamp()
     ORDER BY 1
$$;

-- The seq of the ring that a statement of the stream `keyset` tells of stands in `source_seq`, as that of every other stream.
ALTER TABLE control.statement DROP CONSTRAINT statement_ring_seq_when, DROP COLUMN ring_seq;

REVOKE ALL ON control.verifier FROM PUBLIC;
REVOKE ALL ON FUNCTION control.note_verifier(text, text, bigint, integer) FROM PUBLIC;
GRANT SELECT ON control.verifier TO portico_control, portico_auditor;
GRANT EXECUTE ON FUNCTION control.note_verifier(text, text, bigint, integer) TO portico_core;
