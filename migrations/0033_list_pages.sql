-- Lists are stated in pages: what has not changed is named, and not sent again.
--
-- A page belongs to the last statement that names it, and goes with it.

CREATE TABLE control.list_page (
    stream  text   NOT NULL,
    digest  bytea  NOT NULL CONSTRAINT list_page_digest_length CHECK (octet_length(digest) = 32),
    content bytea  NOT NULL CONSTRAINT list_page_content_length CHECK (octet_length(content) BETWEEN 1 AND 8388608),
    epoch   bigint NOT NULL,
    seq     bigint NOT NULL,
    PRIMARY KEY (digest, stream),
    CONSTRAINT list_page_statement FOREIGN KEY (stream, epoch, seq) REFERENCES control.statement (stream, epoch, seq) ON DELETE CASCADE
);
CREATE INDEX list_page_of_statement ON control.list_page (stream, epoch, seq);
-- Names that are random do not become smaller.
ALTER TABLE control.list_page ALTER COLUMN content SET STORAGE EXTERNAL;

REVOKE ALL ON control.list_page FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE (epoch, seq) ON control.list_page TO portico_control;
GRANT SELECT ON control.list_page TO portico_auditor;
