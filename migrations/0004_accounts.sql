-- What a customer's account is called and sold as. What it holds is the ledger's business.

CREATE TABLE core.account (
    account_id bigint      PRIMARY KEY REFERENCES ledger.account,
    tenant_id  bigint      NOT NULL REFERENCES core.tenant,
    user_id    uuid        NOT NULL REFERENCES core.user,
    product    text        NOT NULL CONSTRAINT account_product_known CHECK (product IN ('checking', 'savings')),
    name       text        CONSTRAINT account_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    created_at timestamptz NOT NULL
);
CREATE INDEX account_of_user ON core.account (user_id, account_id);

-- The answer to a request that came with an Idempotency-Key, kept for its time to live. The permanent identity is the
-- id of the ledger entry (or of the account) that the key leads to.
CREATE TABLE core.idempotency_record (
    tenant_id       bigint      NOT NULL REFERENCES core.tenant,
    principal_id    uuid        NOT NULL,
    idempotency_key text        NOT NULL CONSTRAINT idempotency_record_key_form CHECK (octet_length(idempotency_key) BETWEEN 1 AND 255 AND idempotency_key !~ '[^ -~]'),
    request_hash    bytea       NOT NULL CONSTRAINT idempotency_record_hash_length CHECK (octet_length(request_hash) = 32),
    resource_id     uuid        NOT NULL,
    status          smallint    NOT NULL CONSTRAINT idempotency_record_status_range CHECK (status BETWEEN 200 AND 499),
    body            bytea       NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    CONSTRAINT idempotency_record_pkey PRIMARY KEY (tenant_id, principal_id, idempotency_key)
);
CREATE INDEX idempotency_record_expiry ON core.idempotency_record (expires_at);

ALTER TABLE core.account            ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.account            FORCE ROW LEVEL SECURITY;
ALTER TABLE core.idempotency_record ENABLE ROW LEVEL SECURITY;
ALTER TABLE core.idempotency_record FORCE ROW LEVEL SECURITY;

CREATE POLICY account_definer            ON core.account            TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY idempotency_record_definer ON core.idempotency_record TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY account_owner ON core.account FOR SELECT TO portico_core USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::bigint)
    AND user_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));

REVOKE ALL ON core.account, core.idempotency_record FROM PUBLIC;
GRANT SELECT ON core.account TO portico_core, portico_auditor;
