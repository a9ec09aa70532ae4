-- Which processes speak as a gateway. It is one at a time, also while it is upgraded; two at once are two gateways with one
-- name, and what one of them says is not true of the other.

CREATE TABLE control.node_process (
    node           text        NOT NULL REFERENCES control.node ON DELETE CASCADE,
    boot_id        text        NOT NULL CONSTRAINT node_process_boot_length CHECK (length(boot_id) BETWEEN 1 AND 128),
    -- Its first and its last heartbeat.
    first_heard_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_heard_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The key set in its memory, and whether it follows them.
    keyset_epoch   bigint,
    keyset_seq     bigint,
    follows_keyset boolean     NOT NULL DEFAULT true,
    PRIMARY KEY (node, boot_id),
    CONSTRAINT node_process_order CHECK (first_heard_at <= last_heard_at),
    CONSTRAINT node_process_keyset_whole CHECK (num_nonnulls(keyset_epoch, keyset_seq) IN (0, 2))
);

-- The processes that may live: heard of within 15 s, unless another one began to speak after its last word and it has missed
-- two heartbeats since, as one that was restarted.
CREATE VIEW control.live_process AS
    SELECT process.*
      FROM control.node_process process
      JOIN control.live_node ON live_node.name = process.node
     WHERE process.last_heard_at > clock_timestamp() - interval '15 seconds'
       AND (process.last_heard_at > clock_timestamp() - interval '6 seconds'
            OR NOT EXISTS (SELECT FROM control.node_process later
                            WHERE later.node = process.node AND later.first_heard_at > process.last_heard_at));

-- Gateways with two live processes of which the one spoke again after the other had begun: no restart does that.
CREATE VIEW control.node_conflict AS
    SELECT one.node AS name, min(other.first_heard_at) AS since
      FROM control.live_process one
      JOIN control.live_process other
        ON other.node = one.node AND one.first_heard_at < other.first_heard_at AND other.first_heard_at < one.last_heard_at
     GROUP BY one.node;

-- What an acknowledgement of a gateway says is true of one process. Every process that may live is waited for, each by its own
-- words; a gateway that has no process here yet, by the words of its name.
CREATE OR REPLACE FUNCTION control.gateways_behind(of_ring text, wanted_seq bigint) RETURNS SETOF text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT live_node.name
      FROM control.live_node
     WHERE of_ring = 'access'
       AND NOT EXISTS (SELECT FROM control.live_process WHERE live_process.node = live_node.name)
       AND NOT EXISTS (SELECT FROM control.node_stream held
                         JOIN control.statement ON statement.stream = held.stream
                                               AND statement.epoch = held.active_epoch AND statement.seq = held.active_seq
                        WHERE held.node = live_node.name AND held.stream = 'keyset' AND statement.source_seq >= wanted_seq)
       AND NOT EXISTS (SELECT FROM control.node_stream other
                        WHERE other.node = live_node.name AND other.stream = 'keyset' AND NOT other.is_followed)
    UNION
    SELECT process.node
      FROM control.live_process process
     WHERE of_ring = 'access' AND process.follows_keyset
       AND NOT EXISTS (SELECT FROM control.statement
                        WHERE statement.stream = 'keyset' AND statement.epoch = process.keyset_epoch
                          AND statement.seq = process.keyset_seq AND statement.source_seq >= wanted_seq)
    UNION ALL
    SELECT name FROM control.verifier
     WHERE ring = of_ring AND held_seq < wanted_seq AND live_until > clock_timestamp()
     ORDER BY 1
$$;

-- Sides of listeners that are not open as the policy in the memory of a gateway says.
ALTER TABLE control.node ADD COLUMN waiting text[] NOT NULL DEFAULT '{}';

REVOKE ALL ON control.node_process, control.live_process, control.node_conflict FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON control.node_process TO portico_control;
GRANT SELECT ON control.live_process, control.node_conflict TO portico_control;
GRANT SELECT ON control.node_process, control.live_process, control.node_conflict TO portico_auditor;
