-- What a gateway had served five to fifteen minutes ago: what came since is what a roll-out is compared with, and not the average
-- since its start.
ALTER TABLE control.node
    -- Readings as `boot_id` and `traffic`; the later one becomes the earlier one when it is five minutes old.
    ADD COLUMN earlier_reading  jsonb,
    ADD COLUMN later_reading    jsonb,
    ADD COLUMN later_reading_at timestamptz;

-- The digest of a policy, by which a later statement of the same one is found. Those from before have none.
ALTER TABLE control.statement
    ADD COLUMN content bytea CONSTRAINT statement_content_length CHECK (octet_length(content) = 32);
