-- Opening accounts and moving money. Each function is one statement for its caller, and that statement commits all that
-- belongs to the act: the session check, the idempotency record, legs, balances, outbox and audit rows.

-- Removes what has outlived its time. Returns how many rows went, at most p_limit.
CREATE FUNCTION core.purge_idempotency_records(p_limit int)
RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH dead AS (
        SELECT r.ctid FROM core.idempotency_record r WHERE r.expires_at <= clock_timestamp()
         ORDER BY r.expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM core.idempotency_record r USING dead WHERE r.ctid = dead.ctid RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- Opens an account for the caller, and the tenant's cash account in that currency when it is the first.
-- Outcomes: opened, replayed, key_reused, already_processed, session_ended, unknown_currency, too_many.
-- p_key may be NULL; p_body is the answer to store for it.
CREATE FUNCTION core.open_account(
    p_session uuid, p_user uuid, p_tenant uuid, p_account uuid, p_product text, p_currency text, p_name text,
    p_created_at timestamptz, p_max_accounts int, p_key text, p_request_hash bytea, p_body bytea, p_ttl_s int, p_request_id text)
RETURNS TABLE (outcome text, body bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_tenant bigint;
    v_currency smallint;
    v_account bigint;
    v_house bigint;
    v_record core.idempotency_record;
BEGIN
    -- One account at a time per user: the limit and the key are decided under this lock.
    PERFORM FROM core.user u WHERE u.user_id = p_user FOR NO KEY UPDATE;
    v_tenant := core.live_session_tenant(p_session, p_user, p_tenant);
    IF v_tenant IS NULL THEN RETURN QUERY SELECT 'session_ended', NULL::bytea; RETURN; END IF;
    IF p_key IS NOT NULL THEN
        DELETE FROM core.idempotency_record r
         WHERE r.tenant_id = v_tenant AND r.principal_id = p_user AND r.idempotency_key = p_key AND r.expires_at <= clock_timestamp();
        SELECT r.* INTO v_record FROM core.idempotency_record r
         WHERE r.tenant_id = v_tenant AND r.principal_id = p_user AND r.idempotency_key = p_key;
        IF FOUND THEN
            IF v_record.request_hash = p_request_hash THEN RETURN QUERY SELECT 'replayed', v_record.body;
            ELSE RETURN QUERY SELECT 'key_reused', NULL::bytea;
            END IF;
            RETURN;
        END IF;
        IF EXISTS (SELECT FROM ledger.account a WHERE a.public_id = p_account) THEN
            RETURN QUERY SELECT 'already_processed', NULL::bytea;
            RETURN;
        END IF;
    END IF;
    SELECT c.currency_id INTO v_currency FROM ledger.currency c WHERE c.code = p_currency;
    IF NOT FOUND THEN RETURN QUERY SELECT 'unknown_currency', NULL::bytea; RETURN; END IF;
    IF (SELECT count(*) FROM core.account a WHERE a.user_id = p_user) >= p_max_accounts THEN
        RETURN QUERY SELECT 'too_many', NULL::bytea;
        RETURN;
    END IF;

    INSERT INTO ledger.account (public_id, tenant_id, currency_id, class, house_role, created_at)
    VALUES (gen_random_uuid(), v_tenant, v_currency, 1, 'cash', p_created_at)
    ON CONFLICT (tenant_id, currency_id, house_role) WHERE house_role IS NOT NULL DO NOTHING
    RETURNING account_id INTO v_house;
    IF v_house IS NOT NULL THEN
        INSERT INTO ledger.balance (account_id, tenant_id, currency_id) VALUES (v_house, v_tenant, v_currency);
    END IF;
    INSERT INTO ledger.account (public_id, tenant_id, currency_id, class, owner_id, created_at)
    VALUES (p_account, v_tenant, v_currency, 2, p_user, p_created_at) RETURNING account_id INTO v_account;
    -- No overdraft; and never more than a JSON reader can hold exactly.
    INSERT INTO ledger.balance (account_id, tenant_id, currency_id, debit_cap, credit_cap)
    VALUES (v_account, v_tenant, v_currency, 0, 9000000000000000);
    INSERT INTO core.account (account_id, tenant_id, user_id, product, name, created_at)
    VALUES (v_account, v_tenant, p_user, p_product, p_name, p_created_at);
    IF p_key IS NOT NULL THEN
        INSERT INTO core.idempotency_record (tenant_id, principal_id, idempotency_key, request_hash, resource_id, status, body, created_at, expires_at)
        VALUES (v_tenant, p_user, p_key, p_request_hash, p_account, 201, p_body, clock_timestamp(), clock_timestamp() + make_interval(secs => p_ttl_s));
    END IF;
    INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload)
    VALUES (v_tenant, 'account.opened', p_account, jsonb_build_object('user_id', p_user, 'product', p_product, 'currency', p_currency));
    PERFORM core.record_audit(v_tenant, p_user, p_session, 'account.opened', p_account, 'done', p_request_id);
    RETURN QUERY SELECT 'opened', p_body;
END $$;

-- Commits a batch of movements asked for by any number of callers; each is all or nothing, none touches another.
--   who:   p_session, p_user, p_tenant, from a verified token
--   once:  p_entry (derived from tenant, user and key), p_key, p_request_hash
--   what:  p_kind (1 deposit, 2 withdrawal, 3 transfer), p_debit and p_credit (public ids; NULL is the tenant's cash
--          account), p_currency, p_amount, p_reference, p_booked_at
--   answer: p_body is stored when the movement posts. For a refusal with code c, p_refusal_body[c] is stored, with
--          every @request@ in it replaced by p_request_id; p_refusal_status[c] is NULL when c is not to be stored.
-- Codes: 0 posted, 1 entry exists but its record has expired, 2 no such account of the caller, 3 currency differs,
--   4 insufficient funds, 5 account status, 6 bad amount, 8 too much credit, 9 no such account to pay to,
--   10 session ended, 20 replayed, 21 key used for another request.
-- A twin in another batch makes one of the two fail with unique_violation; trying again replays.
CREATE FUNCTION core.commit_movements(
    p_session uuid[], p_user uuid[], p_tenant uuid[], p_entry uuid[], p_key text[], p_request_hash bytea[],
    p_kind smallint[], p_debit uuid[], p_credit uuid[], p_currency text[], p_amount bigint[], p_reference text[],
    p_booked_at timestamptz[], p_body bytea[], p_request_id text[],
    p_refusal_status smallint[], p_refusal_body text[], p_ttl_s int)
RETURNS TABLE (item int, code smallint, status smallint, body bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    n int := cardinality(p_entry);
    v_tenant bigint[]; v_debit bigint[]; v_credit bigint[]; v_code smallint[];
    v_status smallint[]; v_body bytea[];
    v_accounts bigint[]; v_items int[]; v_dr int[]; v_cr int[]; v_posted smallint[];
    i int; r record;
BEGIN
    IF n IS NULL OR n = 0 THEN RETURN; END IF;
    -- 1. Resolve what never changes: tenants, accounts, owners, currencies. Ownership comes first: a stranger learns
    --    nothing about an account, not even its currency.
    SELECT array_agg(t.tenant_id ORDER BY m.o),
           array_agg(CASE WHEN m.debit IS NULL THEN house.account_id ELSE d.account_id END ORDER BY m.o),
           array_agg(CASE WHEN m.credit IS NULL THEN house.account_id ELSE c.account_id END ORDER BY m.o),
           array_agg((CASE
               WHEN NOT coalesce(CASE m.kind WHEN 1 THEN m.debit IS NULL AND m.credit IS NOT NULL
                                             WHEN 2 THEN m.debit IS NOT NULL AND m.credit IS NULL
                                             WHEN 3 THEN m.debit IS NOT NULL AND m.credit IS NOT NULL END, false) THEN 6
               WHEN (CASE WHEN m.kind = 1 THEN c.owner_id ELSE d.owner_id END) IS DISTINCT FROM m.usr THEN 2
               WHEN m.kind = 3 AND c.owner_id IS NULL THEN 9
               WHEN k.currency_id IS NULL OR coalesce(d.currency_id, k.currency_id) <> k.currency_id
                    OR coalesce(c.currency_id, k.currency_id) <> k.currency_id THEN 3
               ELSE 0 END)::smallint ORDER BY m.o)
      INTO v_tenant, v_debit, v_credit, v_code
      FROM unnest(p_user, p_tenant, p_kind, p_debit, p_credit, p_currency) WITH ORDINALITY m(usr, tenant, kind, debit, credit, currency, o)
      LEFT JOIN core.tenant t ON t.public_id = m.tenant
      LEFT JOIN ledger.currency k ON k.code = m.currency
      LEFT JOIN ledger.account d ON d.public_id = m.debit AND d.tenant_id = t.tenant_id
      LEFT JOIN ledger.account c ON c.public_id = m.credit AND c.tenant_id = t.tenant_id
      LEFT JOIN ledger.account house ON house.tenant_id = t.tenant_id AND house.currency_id = k.currency_id AND house.house_role = 'cash';

    -- 2. Lock the balances of the whole batch in one global order. What follows is read after the locks.
    SELECT coalesce(array_agg(DISTINCT a.id ORDER BY a.id), '{}') INTO v_accounts
      FROM unnest(v_debit, v_credit, v_code) m(debit, credit, code), LATERAL (VALUES (m.debit), (m.credit)) a(id)
     WHERE m.code = 0 AND a.id IS NOT NULL;
    PERFORM FROM (SELECT FROM ledger.balance b WHERE b.account_id = ANY (v_accounts) ORDER BY b.account_id FOR NO KEY UPDATE) locked;

    -- 3. The core is the last word: a session revoked before this point moves nothing, and replays nothing.
    FOR r IN SELECT m.o FROM unnest(p_session, p_user, p_tenant) WITH ORDINALITY m(session, usr, tenant, o)
              WHERE core.live_session_tenant(m.session, m.usr, m.tenant) IS NULL LOOP
        v_code[r.o] := 10;
    END LOOP;

    -- 4. Keys that were used before. An expired record counts for nothing; the entry below it still does.
    DELETE FROM core.idempotency_record x USING unnest(v_tenant, p_user, p_key, v_code) m(tenant, usr, key, code)
     WHERE x.tenant_id = m.tenant AND x.principal_id = m.usr AND x.idempotency_key = m.key AND m.code <> 10
       AND x.expires_at <= clock_timestamp();
    v_status := array_fill(NULL::smallint, ARRAY[n]);
    v_body := array_fill(NULL::bytea, ARRAY[n]);
    FOR r IN SELECT m.o, x.request_hash = m.hash AS same, x.status, x.body
               FROM unnest(v_tenant, p_user, p_key, p_request_hash, v_code) WITH ORDINALITY m(tenant, usr, key, hash, code, o)
               JOIN core.idempotency_record x ON x.tenant_id = m.tenant AND x.principal_id = m.usr AND x.idempotency_key = m.key
              WHERE m.code <> 10 LOOP
        IF r.same THEN
            v_code[r.o] := 20; v_status[r.o] := r.status; v_body[r.o] := r.body;
        ELSE
            v_code[r.o] := 21;
        END IF;
    END LOOP;

    -- 5. Post what is left.
    SELECT array_agg(m.o::int ORDER BY m.o),
           -- v_accounts is sorted: the bucket of an id is its place.
           array_agg(width_bucket(m.debit, v_accounts) ORDER BY m.o), array_agg(width_bucket(m.credit, v_accounts) ORDER BY m.o)
      INTO v_items, v_dr, v_cr
      FROM unnest(v_debit, v_credit, v_code) WITH ORDINALITY m(debit, credit, code, o)
     WHERE m.code = 0;
    IF v_items IS NOT NULL THEN
        SELECT ledger.post(
                   array_agg(p_entry[m.i] ORDER BY m.g), array_agg(v_tenant[m.i] ORDER BY m.g), array_agg(p_kind[m.i] ORDER BY m.g),
                   array_agg(p_booked_at[m.i] ORDER BY m.g), array_agg(p_reference[m.i] ORDER BY m.g), v_accounts, '{}'::uuid[],
                   array_agg(m.g::int ORDER BY m.g), v_dr, v_cr, array_agg(p_amount[m.i] ORDER BY m.g),
                   array_agg(0::bigint), array_agg(0))
          INTO v_posted
          FROM unnest(v_items) WITH ORDINALITY m(i, g);
        FOR i IN 1 .. cardinality(v_items) LOOP
            v_code[v_items[i]] := v_posted[i];
        END LOOP;
    END IF;

    -- 6. Answers, records, events. Records go in key order: two batches that share keys cannot deadlock.
    FOR i IN 1 .. n LOOP
        IF v_code[i] = 0 THEN
            v_status[i] := 201; v_body[i] := p_body[i];
        ELSIF v_code[i] BETWEEN 2 AND 9 AND p_refusal_status[v_code[i]] IS NOT NULL THEN
            v_status[i] := p_refusal_status[v_code[i]];
            v_body[i] := convert_to(replace(p_refusal_body[v_code[i]], '@request@', p_request_id[i]), 'UTF8');
        END IF;
    END LOOP;
    INSERT INTO core.idempotency_record (tenant_id, principal_id, idempotency_key, request_hash, resource_id, status, body, created_at, expires_at)
    SELECT m.tenant, m.usr, m.key, m.hash, m.entry, m.status, m.body, clock_timestamp(), clock_timestamp() + make_interval(secs => p_ttl_s)
      FROM unnest(v_tenant, p_user, p_key, p_request_hash, p_entry, v_code, v_status, v_body) m(tenant, usr, key, hash, entry, code, status, body)
     WHERE m.code < 10 AND m.status IS NOT NULL
     ORDER BY m.tenant, m.usr, m.key;
    INSERT INTO core.outbox_event (tenant_id, kind, subject_id, payload)
    SELECT m.tenant, CASE m.kind WHEN 1 THEN 'deposit.posted' WHEN 2 THEN 'withdrawal.posted' ELSE 'transfer.posted' END, m.entry,
           jsonb_build_object('debit_account', m.debit, 'credit_account', m.credit, 'currency', m.currency, 'amount', m.amount, 'booked_at', m.at)
      FROM unnest(v_tenant, p_kind, p_entry, p_debit, p_credit, p_currency, p_amount, p_booked_at, v_code)
           WITH ORDINALITY m(tenant, kind, entry, debit, credit, currency, amount, at, code, o)
     WHERE m.code = 0 ORDER BY m.o;
    INSERT INTO core.audit_event (tenant_id, actor_id, session_id, action, object_id, outcome, request_id)
    SELECT m.tenant, m.usr, m.session, CASE m.kind WHEN 1 THEN 'deposit.created' WHEN 2 THEN 'withdrawal.created' ELSE 'transfer.created' END, m.entry,
           CASE m.code WHEN 0 THEN 'done' WHEN 1 THEN 'already_processed' WHEN 2 THEN 'account_not_found' WHEN 3 THEN 'currency_mismatch'
               WHEN 4 THEN 'insufficient_funds' WHEN 5 THEN 'account_blocked' WHEN 8 THEN 'balance_limit' WHEN 9 THEN 'creditor_not_found'
               WHEN 10 THEN 'session_ended' WHEN 21 THEN 'key_reused' ELSE 'invalid' END, m.request
      FROM unnest(v_tenant, p_user, p_session, p_kind, p_entry, v_code, p_request_id) WITH ORDINALITY m(tenant, usr, session, kind, entry, code, request, o)
     WHERE m.code <> 20 ORDER BY m.o;
    RETURN QUERY SELECT m.o::int, m.code, m.status, m.body FROM unnest(v_code, v_status, v_body) WITH ORDINALITY m(code, status, body, o) ORDER BY m.o;
END $$;

REVOKE ALL ON FUNCTION core.purge_idempotency_records, core.open_account, core.commit_movements FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.purge_idempotency_records, core.open_account, core.commit_movements TO portico_core;
