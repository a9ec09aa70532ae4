-- Tenants, users, sessions and refresh tokens. A session is a family of refresh tokens: one login, one family.

CREATE TABLE core.tenant (
    tenant_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id  uuid        NOT NULL CONSTRAINT tenant_public_id_unique UNIQUE,
    slug       text        NOT NULL CONSTRAINT tenant_slug_unique UNIQUE,
    name       text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Whoever registers by himself joins this one.
INSERT INTO core.tenant (public_id, slug, name) VALUES (gen_random_uuid(), 'default', 'Default');

CREATE TABLE core.user (
    user_id       uuid        PRIMARY KEY,
    tenant_id     bigint      NOT NULL REFERENCES core.tenant,
    email         text        NOT NULL CONSTRAINT user_email_unique UNIQUE
                              CONSTRAINT user_email_normal CHECK (email = lower(email) AND char_length(email) <= 254),
    full_name     text        NOT NULL CONSTRAINT user_full_name_length CHECK (char_length(full_name) BETWEEN 1 AND 200),
    password_hash text        NOT NULL CONSTRAINT user_password_hash_form CHECK (password_hash LIKE '$argon2id$%'),
    status        text        NOT NULL CONSTRAINT user_status_known CHECK (status IN ('pending', 'active', 'disabled')),
    created_at    timestamptz NOT NULL
);

CREATE TABLE core.session (
    session_id          uuid        PRIMARY KEY,
    user_id             uuid        NOT NULL REFERENCES core.user,
    created_at          timestamptz NOT NULL,
    last_used_at        timestamptz NOT NULL,
    absolute_expires_at timestamptz NOT NULL,            -- rotation never moves it
    revoked_at          timestamptz,
    revoked_reason      text        CONSTRAINT session_revoked_reason_known CHECK (revoked_reason IN ('logout', 'refresh_reused')),
    CONSTRAINT session_revoked_with_reason CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
);
CREATE INDEX session_of_user ON core.session (user_id);
CREATE INDEX session_in_use ON core.session (last_used_at) WHERE revoked_at IS NULL;

-- The secret of a token is never stored, only its SHA-256. replay_sealed is the successor token, sealed under a key
-- derived from the presented secret: the database alone cannot open it.
CREATE TABLE core.refresh_token (
    refresh_token_id uuid        PRIMARY KEY,            -- jti
    session_id       uuid        NOT NULL REFERENCES core.session,
    secret_hash      bytea       NOT NULL CONSTRAINT refresh_token_secret_hash_length CHECK (octet_length(secret_hash) = 32),
    issued_at        timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    access_token_id  uuid        NOT NULL,               -- jti of the access token issued beside it
    access_issued_at timestamptz NOT NULL,
    access_kid       text        NOT NULL,
    consumed_at      timestamptz,
    successor_id     uuid        CONSTRAINT refresh_token_one_parent UNIQUE REFERENCES core.refresh_token DEFERRABLE INITIALLY DEFERRED,
    request_key_hash bytea       CONSTRAINT refresh_token_request_key_hash_length CHECK (octet_length(request_key_hash) = 32),
    replay_sealed    bytea,
    CONSTRAINT refresh_token_consumed_has_successor CHECK ((consumed_at IS NULL) = (successor_id IS NULL))
);
CREATE INDEX refresh_token_of_session ON core.refresh_token (session_id);

ALTER TABLE core.tenant        ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.tenant        FORCE ROW LEVEL SECURITY;
ALTER TABLE core.user          ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.user          FORCE ROW LEVEL SECURITY;
ALTER TABLE core.session       ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.session       FORCE ROW LEVEL SECURITY;
ALTER TABLE core.refresh_token ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.refresh_token FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant_definer        ON core.tenant        TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY user_definer          ON core.user          TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY session_definer       ON core.session       TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY refresh_token_definer ON core.refresh_token TO portico_owner USING (true) WITH CHECK (true);

CREATE POLICY tenant_member ON core.tenant FOR SELECT TO portico_core USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::bigint));
CREATE POLICY user_self ON core.user FOR SELECT TO portico_core USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::bigint)
    AND user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));

REVOKE ALL ON core.tenant, core.user, core.session, core.refresh_token FROM PUBLIC;
GRANT USAGE ON SCHEMA core TO portico_core, portico_auditor;
-- Sessions, tokens and password hashes are out of reach of a plain SELECT, even of one's own.
GRANT SELECT ON core.tenant TO portico_core;
GRANT SELECT (user_id, tenant_id, email, full_name, status, created_at) ON core.user TO portico_core;
GRANT SELECT ON core.tenant TO portico_auditor;
GRANT SELECT (user_id, tenant_id, status, created_at) ON core.user TO portico_auditor;
GRANT SELECT (session_id, user_id, created_at, last_used_at, absolute_expires_at, revoked_at, revoked_reason) ON core.session TO portico_auditor;
