-- How large a list is when it is stated. Entries have names of up to 1 KiB, and an envelope has at most 8 MiB
-- (fleet::MAX_ENVELOPE_BYTES): a list that had outgrown it could not be stated at all, and no revocation would reach a gateway.
--
-- Counted is what an entry takes as JSON in the statement, at most. 6,000,000 bytes are 8,000,000 as base64; what is around the
-- list is far less than the rest.

ALTER TABLE control.denial_list
    ADD COLUMN bytes      bigint NOT NULL DEFAULT 0,
    ADD COLUMN most_bytes bigint NOT NULL DEFAULT 6000000;

-- The parts that are always there, with numbers of twenty digits, and the names as JSON writes them. A text has one JSON form,
-- so this is as immutable as its arguments.
CREATE FUNCTION control.stated_bytes(p_issuer text, p_name text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
RETURN 112 + octet_length(to_json(p_issuer)::text) + octet_length(to_json(p_name)::text);

-- Its own rights: whoever may change an entry need not be able to change a seq. What an entry is about never changes.
CREATE OR REPLACE FUNCTION control.note_denials() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rows bigint;
    size bigint;
BEGIN
    IF TG_ARGV[0] = 'revocations' THEN
        SELECT count(*), coalesce(sum(control.stated_bytes(issuer, name)), 0) INTO rows, size FROM changed;
    ELSE
        -- The longest address has 39 characters, or 45 where it ends as one of IPv4.
        SELECT count(*), count(*) * 128 INTO rows, size FROM changed;
    END IF;
    IF rows > 0 THEN
        UPDATE control.denial_list
           SET seq = seq + 1,
               entries = entries + CASE TG_OP WHEN 'INSERT' THEN rows WHEN 'DELETE' THEN -rows ELSE 0 END,
               bytes = bytes + CASE TG_OP WHEN 'INSERT' THEN size WHEN 'DELETE' THEN -size ELSE 0 END
         WHERE list = TG_ARGV[0];
        PERFORM pg_notify('portico_fleet', TG_ARGV[0]);
    END IF;
    RETURN NULL;
END $$;

-- A list that is too large already can still be made smaller, and not larger.
UPDATE control.denial_list
   SET bytes = held.size, most_bytes = greatest(most_bytes, held.size)
  FROM (SELECT 'revocations' AS list, coalesce(sum(control.stated_bytes(issuer, name)), 0) AS size FROM control.revocation
        UNION ALL
        SELECT 'blocks', count(*) * 128 FROM control.block) held
 WHERE held.list = denial_list.list;
ALTER TABLE control.denial_list ADD CONSTRAINT denial_list_size CHECK (bytes BETWEEN 0 AND most_bytes);

-- Half of the list is kept for what operators revoke, by count and by size.
CREATE OR REPLACE FUNCTION control.revoke_ended_session(p_issuer text, p_name text, p_for_s bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT entries * 2 >= most_entries OR bytes * 2 >= most_bytes FROM control.denial_list WHERE list = 'revocations') THEN
        RETURN false;
    END IF;
    PERFORM control.revoke('session', p_issuer, p_name, NULL, clock_timestamp() + p_for_s * interval '1 second', 'the session has ended', 'core-api');
    RETURN true;
END $$;

REVOKE ALL ON FUNCTION control.stated_bytes FROM PUBLIC;
