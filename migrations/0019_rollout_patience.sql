-- The patience with a gateway in a roll-out begins when it stopped being healthy, not with the phase.

-- How long the phase had been watched, in milliseconds, when the gateway was healthy last, or was given the policy.
ALTER TABLE control.rollout_node
    ADD COLUMN healthy_ms bigint NOT NULL DEFAULT 0 CONSTRAINT rollout_node_healthy_range CHECK (healthy_ms >= 0);
