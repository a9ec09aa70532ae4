-- The double-entry ledger: currencies, accounts, balances, entries, holds, transfers, and the one function that posts.
--
-- * A row of ledger.transfer debits one account and credits another with one amount in one currency, so that every
--   entry balances by construction (I1). ledger.posting shows the two sides.
-- * ledger.balance is the only hot row. Its CHECKs are the last line of every limit, pending amounts included (I5).
-- * ledger.entry and ledger.transfer are append-only, by privilege and by triggers that ENABLE ALWAYS (I19): a
--   session in replica mode cannot skip them.
-- * Nobody writes these tables but ledger.post_batch. Services read them through row-level security.

CREATE TABLE ledger.currency (
    currency_id smallint PRIMARY KEY,                   -- ISO 4217 numeric code
    code        text     NOT NULL CONSTRAINT currency_code_unique UNIQUE
                         CONSTRAINT currency_code_form CHECK (code ~ '^[A-Z]{3}$'),
    exponent    smallint NOT NULL CONSTRAINT currency_exponent_range CHECK (exponent BETWEEN 0 AND 4)
);
INSERT INTO ledger.currency (currency_id, code, exponent) VALUES
    (36, 'AUD', 2), (48, 'BHD', 3), (124, 'CAD', 2), (156, 'CNY', 2), (208, 'DKK', 2), (344, 'HKD', 2), (356, 'INR', 2),
    (392, 'JPY', 0), (404, 'KES', 2), (410, 'KRW', 0), (414, 'KWD', 3), (484, 'MXN', 2), (512, 'OMR', 3), (554, 'NZD', 2),
    (566, 'NGN', 2), (578, 'NOK', 2), (702, 'SGD', 2), (710, 'ZAR', 2), (752, 'SEK', 2), (756, 'CHF', 2), (788, 'TND', 3),
    (826, 'GBP', 2), (840, 'USD', 2), (978, 'EUR', 2), (985, 'PLN', 2), (986, 'BRL', 2), (400, 'JOD', 3);

-- The cold row: the immutable identity of an account.
CREATE TABLE ledger.account (
    account_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id   uuid        NOT NULL CONSTRAINT account_public_id_unique UNIQUE,
    tenant_id   bigint      NOT NULL,
    currency_id smallint    NOT NULL REFERENCES ledger.currency,
    class       smallint    NOT NULL CONSTRAINT account_class_range CHECK (class BETWEEN 1 AND 5), -- 1 asset 2 liability 3 equity 4 income 5 expense
    owner_id    uuid,                                   -- the user it belongs to; NULL for the bank's own accounts
    house_role  text,                                   -- what a house account is for; NULL for a customer's account
    created_at  timestamptz NOT NULL,
    CONSTRAINT account_identity UNIQUE (account_id, tenant_id, currency_id),
    CONSTRAINT account_owner_or_house CHECK ((owner_id IS NULL) <> (house_role IS NULL))
);
CREATE UNIQUE INDEX account_house_role ON ledger.account (tenant_id, currency_id, house_role) WHERE house_role IS NOT NULL;
CREATE INDEX account_owner ON ledger.account (owner_id, account_id) WHERE owner_id IS NOT NULL;

-- The hot row: updated in place (HOT), hence no secondary index and half-empty pages.
CREATE TABLE ledger.balance (
    account_id  bigint   PRIMARY KEY,
    tenant_id   bigint   NOT NULL,
    currency_id smallint NOT NULL,
    status      smallint NOT NULL DEFAULT 0 CONSTRAINT balance_status_range CHECK (status BETWEEN 0 AND 3), -- 0 active 1 no debits 2 frozen 3 closed
    debit_cap   bigint   CONSTRAINT balance_debit_cap_sign CHECK (debit_cap >= 0),    -- most net debit; NULL = unlimited
    credit_cap  bigint   CONSTRAINT balance_credit_cap_sign CHECK (credit_cap >= 0),  -- most net credit; NULL = unlimited
    forced      bigint   NOT NULL DEFAULT 0 CONSTRAINT balance_forced_sign CHECK (forced >= 0), -- by how much forced entries broke a cap
    dr_posted   bigint   NOT NULL DEFAULT 0 CONSTRAINT balance_dr_posted_sign CHECK (dr_posted >= 0),
    cr_posted   bigint   NOT NULL DEFAULT 0 CONSTRAINT balance_cr_posted_sign CHECK (cr_posted >= 0),
    dr_pending  bigint   NOT NULL DEFAULT 0 CONSTRAINT balance_dr_pending_sign CHECK (dr_pending >= 0),
    cr_pending  bigint   NOT NULL DEFAULT 0 CONSTRAINT balance_cr_pending_sign CHECK (cr_pending >= 0),
    version     bigint   NOT NULL DEFAULT 0,
    FOREIGN KEY (account_id, tenant_id, currency_id) REFERENCES ledger.account (account_id, tenant_id, currency_id),
    CONSTRAINT balance_debit_cap_kept  CHECK (debit_cap  IS NULL OR dr_posted + dr_pending - cr_posted <= debit_cap  + forced),
    CONSTRAINT balance_credit_cap_kept CHECK (credit_cap IS NULL OR cr_posted + cr_pending - dr_posted <= credit_cap + forced)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);

-- One business event. Its id is the permanent idempotency identity (I6): it outlives every idempotency record.
CREATE TABLE ledger.entry (
    entry_id     uuid        PRIMARY KEY,
    tenant_id    bigint      NOT NULL,
    kind         smallint    NOT NULL CONSTRAINT entry_kind_range CHECK (kind BETWEEN 1 AND 99), -- 1 deposit 2 withdrawal 3 transfer
    effective_on date        NOT NULL,
    booked_at    timestamptz NOT NULL,
    reverses     uuid        CONSTRAINT entry_reversed_once UNIQUE REFERENCES ledger.entry, -- I7
    reference    text        CONSTRAINT entry_reference_length CHECK (char_length(reference) <= 140),
    xid          xid8        NOT NULL DEFAULT pg_current_xact_id() -- fence for consumers: xid < pg_snapshot_xmin(pg_current_snapshot())
);

CREATE TABLE ledger.hold (
    hold_id    uuid   PRIMARY KEY,
    tenant_id  bigint NOT NULL,
    debit_id   bigint NOT NULL REFERENCES ledger.account,
    credit_id  bigint NOT NULL REFERENCES ledger.account,
    remaining  bigint NOT NULL CONSTRAINT hold_remaining_sign CHECK (remaining >= 0), -- I8
    captured   bigint NOT NULL DEFAULT 0 CONSTRAINT hold_captured_sign CHECK (captured >= 0),
    expires_at timestamptz
);
CREATE INDEX hold_open ON ledger.hold (expires_at) WHERE remaining > 0;

-- The journal. No foreign keys: three of them cost a third of the throughput, and the posting function has already
-- proved existence, tenant and currency under lock. seq is assigned under the locks, so that the running balances of
-- one account are strictly ordered (I3).
CREATE TABLE ledger.transfer (
    seq          bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry_id     uuid     NOT NULL,
    leg          smallint NOT NULL,
    tenant_id    bigint   NOT NULL,
    currency_id  smallint NOT NULL,
    debit_id     bigint   NOT NULL,
    credit_id    bigint   NOT NULL,
    amount       bigint   NOT NULL CONSTRAINT transfer_amount_sign CHECK (amount >= 0), -- posted minor units
    pending      bigint   NOT NULL DEFAULT 0,            -- change of the pending amount: + hold, - capture or release
    hold_id      uuid,
    debit_after  bigint   NOT NULL,                      -- net debit balance of each account after this row
    credit_after bigint   NOT NULL,
    CONSTRAINT transfer_two_accounts CHECK (debit_id <> credit_id),
    CONSTRAINT transfer_moves_something CHECK (amount > 0 OR pending <> 0),
    CONSTRAINT transfer_pending_has_hold CHECK (pending = 0 OR hold_id IS NOT NULL)
);
CREATE INDEX transfer_debit ON ledger.transfer (debit_id, seq);
CREATE INDEX transfer_credit ON ledger.transfer (credit_id, seq);
CREATE UNIQUE INDEX transfer_entry ON ledger.transfer (entry_id, leg);

-- Debits are positive, credits negative: the sum per currency is zero.
CREATE VIEW ledger.posting WITH (security_invoker) AS
    SELECT seq, entry_id, leg, tenant_id, currency_id, debit_id AS account_id, credit_id AS counterparty_id,
           amount, debit_after AS balance_after
      FROM ledger.transfer WHERE amount > 0
    UNION ALL
    SELECT seq, entry_id, leg, tenant_id, currency_id, credit_id, debit_id, -amount, credit_after
      FROM ledger.transfer WHERE amount > 0;

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER transfer_no_change BEFORE UPDATE OR DELETE ON ledger.transfer FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER transfer_no_truncate BEFORE TRUNCATE ON ledger.transfer FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER entry_no_change BEFORE UPDATE OR DELETE ON ledger.entry FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER entry_no_truncate BEFORE TRUNCATE ON ledger.entry FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_no_change BEFORE UPDATE OR DELETE ON ledger.account FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_no_truncate BEFORE TRUNCATE ON ledger.account FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
ALTER TABLE ledger.transfer ENABLE ALWAYS TRIGGER transfer_no_change;
ALTER TABLE ledger.transfer ENABLE ALWAYS TRIGGER transfer_no_truncate;
ALTER TABLE ledger.entry ENABLE ALWAYS TRIGGER entry_no_change;
ALTER TABLE ledger.entry ENABLE ALWAYS TRIGGER entry_no_truncate;
ALTER TABLE ledger.account ENABLE ALWAYS TRIGGER account_no_change;
ALTER TABLE ledger.account ENABLE ALWAYS TRIGGER account_no_truncate;

-- Posts a batch of entries. Entries are evaluated strictly in input order; the legs of one entry succeed or fail together.
--   per entry: p_entry, p_tenant, p_kind, p_booked_at, p_reference
--   p_acct:    the distinct account ids of the batch; p_dr and p_cr are 1-based indexes into it
--   p_hold_ids: the distinct hold ids; p_hold is a 1-based index into it, 0 for none
--   per leg:   p_grp (1-based index into p_entry, non-decreasing), p_dr, p_cr, p_amt, p_pend, p_hold, p_force
-- Result per entry: 0 posted, 1 exists already, 2 unknown account, 3 tenant or currency differ, 4 insufficient funds
-- (debit cap), 5 account status, 6 bad amount, 7 hold, 8 too much credit (credit cap, or a counter is full).
CREATE FUNCTION ledger.post_batch(
    p_entry uuid[], p_tenant bigint[], p_kind smallint[], p_booked_at timestamptz[], p_reference text[],
    p_acct bigint[], p_hold_ids uuid[],
    p_grp int[], p_dr int[], p_cr int[], p_amt bigint[], p_pend bigint[], p_hold int[], p_force boolean[])
RETURNS smallint[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Planned once per session, and by index: a plan made while the tables were small must not stay when they are big.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    n int := cardinality(p_grp);
    g int := cardinality(p_entry);
    max_amount CONSTANT bigint := 1000000000000000;         -- 10^15, below 2^53: exact in every JSON reader
    max_counter CONSTANT bigint := 4500000000000000000;     -- posted + pending + one more amount stay below 2^63
    res smallint[]; ten bigint[]; cur smallint[]; st smallint[]; dcap bigint[]; ccap bigint[];
    drp bigint[]; crp bigint[]; drh bigint[]; crh bigint[]; touched boolean[]; fl boolean[];
    hrem bigint[]; hd bigint[]; hc bigint[]; hcap bigint[]; hx boolean[]; -- hx: the hold exists, in the table or by an accepted entry of this batch
    da bigint[]; ca bigint[];
    i int; j int; k int; z int; a int; b int; h int; code smallint;
BEGIN
    IF g = 0 OR n = 0 THEN RETURN '{}'; END IF;
    -- A malformed batch is a bug of the caller: refused whole, before anything is locked.
    IF cardinality(p_tenant) <> g OR cardinality(p_kind) <> g OR cardinality(p_booked_at) <> g OR cardinality(p_reference) <> g
       OR cardinality(p_dr) <> n OR cardinality(p_cr) <> n OR cardinality(p_amt) <> n OR cardinality(p_pend) <> n
       OR cardinality(p_hold) <> n OR cardinality(p_force) <> n
       OR array_position(p_entry, NULL) IS NOT NULL OR array_position(p_amt, NULL) IS NOT NULL OR array_position(p_pend, NULL) IS NOT NULL
       OR (SELECT count(DISTINCT e) FROM unnest(p_entry) e) <> g
       OR (SELECT count(DISTINCT e) FROM unnest(p_acct) e) <> cardinality(p_acct)
       OR EXISTS (SELECT FROM unnest(p_grp, p_dr, p_cr, p_hold, p_force) u(x, d, c, y, f)
                   WHERE coalesce(x NOT BETWEEN 1 AND g OR d NOT BETWEEN 1 AND cardinality(p_acct)
                         OR c NOT BETWEEN 1 AND cardinality(p_acct) OR y NOT BETWEEN 0 AND cardinality(p_hold_ids) OR f IS NULL, true))
    THEN
        RAISE EXCEPTION 'malformed posting batch' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    res := array_fill(0::smallint, ARRAY[g]);
    da := array_fill(0::bigint, ARRAY[n]);
    ca := da;
    -- 1. Lock every balance of the batch in ONE global order (ascending id), then read: two batches cannot deadlock.
    WITH l AS MATERIALIZED (
        SELECT * FROM ledger.balance WHERE account_id = ANY (p_acct) ORDER BY account_id FOR NO KEY UPDATE)
    SELECT array_agg(l.tenant_id ORDER BY u.o), array_agg(l.currency_id ORDER BY u.o), array_agg(l.status ORDER BY u.o),
           array_agg(l.debit_cap ORDER BY u.o), array_agg(l.credit_cap ORDER BY u.o),
           array_agg(l.dr_posted ORDER BY u.o), array_agg(l.cr_posted ORDER BY u.o),
           array_agg(l.dr_pending ORDER BY u.o), array_agg(l.cr_pending ORDER BY u.o), array_agg(false), array_agg(false)
      INTO ten, cur, st, dcap, ccap, drp, crp, drh, crh, touched, fl
      FROM unnest(p_acct) WITH ORDINALITY u(id, o) LEFT JOIN l ON l.account_id = u.id;
    -- 2. New statements have new snapshots, taken AFTER the locks: duplicates and holds committed meanwhile are visible.
    FOR j IN SELECT u.o FROM unnest(p_entry) WITH ORDINALITY u(id, o) JOIN ledger.entry e ON e.entry_id = u.id LOOP
        res[j] := 1;
    END LOOP;
    IF cardinality(p_hold_ids) > 0 THEN
        SELECT array_agg(coalesce(x.remaining, 0) ORDER BY u.o), array_agg(x.debit_id ORDER BY u.o),
               array_agg(x.credit_id ORDER BY u.o), array_agg(0::bigint), array_agg(x.hold_id IS NOT NULL ORDER BY u.o)
          INTO hrem, hd, hc, hcap, hx
          FROM unnest(p_hold_ids) WITH ORDINALITY u(id, o) LEFT JOIN ledger.hold x ON x.hold_id = u.id;
    END IF;
    -- 3. Evaluate in memory, in input order.
    i := 1;
    WHILE i <= n LOOP
        j := p_grp[i]; k := i; code := res[j];
        WHILE k <= n AND p_grp[k] = j LOOP
            IF code = 0 THEN
                a := p_dr[k]; b := p_cr[k]; h := p_hold[k];
                IF p_amt[k] < 0 OR (p_amt[k] = 0 AND p_pend[k] = 0) OR p_amt[k] > max_amount
                   OR p_pend[k] > max_amount OR p_pend[k] < -max_amount OR a = b THEN code := 6;
                ELSIF ten[a] IS NULL OR ten[b] IS NULL THEN code := 2;
                ELSIF ten[a] <> p_tenant[j] OR ten[b] <> p_tenant[j] OR cur[a] <> cur[b] THEN code := 3;
                ELSIF NOT p_force[k] AND p_pend[k] >= 0 AND (st[a] > 0 OR st[b] > 1) THEN code := 5;
                ELSIF p_pend[k] <> 0 AND (h = 0 OR (hd[h] IS NULL AND p_pend[k] < 0)
                      OR (hd[h] IS NOT NULL AND (hd[h] <> p_acct[a] OR hc[h] <> p_acct[b]))
                      OR (p_pend[k] < 0 AND hrem[h] < -p_pend[k])) THEN code := 7;
                ELSIF drp[a] > max_counter OR crp[b] > max_counter OR drh[a] > max_counter OR crh[b] > max_counter THEN code := 8;
                ELSE
                    drp[a] := drp[a] + p_amt[k]; crp[b] := crp[b] + p_amt[k];
                    drh[a] := drh[a] + p_pend[k]; crh[b] := crh[b] + p_pend[k];
                    IF h > 0 THEN
                        IF hd[h] IS NULL THEN hd[h] := p_acct[a]; hc[h] := p_acct[b]; END IF;
                        hrem[h] := hrem[h] + p_pend[k]; hcap[h] := hcap[h] + p_amt[k];
                    END IF;
                    IF NOT p_force[k] AND p_amt[k] + p_pend[k] > 0 THEN
                        IF dcap[a] IS NOT NULL AND drp[a] + drh[a] - crp[a] > dcap[a] THEN code := 4;
                        ELSIF ccap[b] IS NOT NULL AND crp[b] + crh[b] - drp[b] > ccap[b] THEN code := 8;
                        END IF;
                    END IF;
                    da[k] := drp[a] - crp[a]; ca[k] := drp[b] - crp[b];
                    IF code <> 0 THEN k := k + 1; END IF;    -- the undo takes this leg back too
                END IF;
                IF code <> 0 THEN
                    FOR z IN REVERSE k - 1 .. i LOOP
                        a := p_dr[z]; b := p_cr[z]; h := p_hold[z];
                        drp[a] := drp[a] - p_amt[z]; crp[b] := crp[b] - p_amt[z];
                        drh[a] := drh[a] - p_pend[z]; crh[b] := crh[b] - p_pend[z];
                        IF h > 0 THEN
                            hrem[h] := hrem[h] - p_pend[z]; hcap[h] := hcap[h] - p_amt[z];
                            IF NOT hx[h] THEN hd[h] := NULL; hc[h] := NULL; END IF;
                        END IF;
                    END LOOP;
                    WHILE k <= n AND p_grp[k] = j LOOP k := k + 1; END LOOP;
                    EXIT;
                END IF;
            END IF;
            k := k + 1;
        END LOOP;
        res[j] := code;
        IF code = 0 THEN
            FOR z IN i .. k - 1 LOOP
                touched[p_dr[z]] := true; touched[p_cr[z]] := true;
                IF p_force[z] THEN fl[p_dr[z]] := true; fl[p_cr[z]] := true; END IF;
                IF p_hold[z] > 0 THEN hx[p_hold[z]] := true; END IF;
            END LOOP;
        END IF;
        i := k;
    END LOOP;
    -- 4. Write what was accepted, set by set.
    INSERT INTO ledger.entry (entry_id, tenant_id, kind, effective_on, booked_at, reference)
        SELECT u.id, u.t, u.k, (u.at AT TIME ZONE 'UTC')::date, u.at, u.ref
          FROM unnest(p_entry, p_tenant, p_kind, p_booked_at, p_reference, res) u(id, t, k, at, ref, r)
         WHERE u.r = 0 ORDER BY u.id;
    INSERT INTO ledger.transfer (entry_id, leg, tenant_id, currency_id, debit_id, credit_id, amount, pending, hold_id, debit_after, credit_after)
        SELECT p_entry[u.g], row_number() OVER (PARTITION BY u.g ORDER BY u.o), p_tenant[u.g], cur[u.d], p_acct[u.d], p_acct[u.c],
               u.m, u.p, CASE WHEN u.h > 0 THEN p_hold_ids[u.h] END, u.da, u.ca
          FROM unnest(p_grp, p_dr, p_cr, p_amt, p_pend, p_hold, da, ca) WITH ORDINALITY u(g, d, c, m, p, h, da, ca, o)
         WHERE res[u.g] = 0 ORDER BY u.o;
    UPDATE ledger.balance t
       SET dr_posted = u.d, cr_posted = u.c, dr_pending = u.dh, cr_pending = u.ch, version = t.version + 1,
           forced = CASE WHEN u.fl THEN v.over ELSE least(t.forced, v.over) END
      FROM unnest(p_acct, drp, crp, drh, crh, dcap, ccap, touched, fl) u(id, d, c, dh, ch, dcap, ccap, x, fl),
           LATERAL (SELECT greatest(0, u.d + u.dh - u.c - u.dcap, u.c + u.ch - u.d - u.ccap) AS over) v
     WHERE t.account_id = u.id AND u.x;
    IF cardinality(p_hold_ids) > 0 THEN
        INSERT INTO ledger.hold AS x (hold_id, tenant_id, debit_id, credit_id, remaining, captured)
            SELECT u.id, (SELECT q.tenant_id FROM ledger.balance q WHERE q.account_id = u.d), u.d, u.c, u.r, u.cap
              FROM unnest(p_hold_ids, hd, hc, hrem, hcap, hx) u(id, d, c, r, cap, x) WHERE u.x -- unchanged ones are written as they were
        ON CONFLICT (hold_id) DO UPDATE SET remaining = excluded.remaining, captured = x.captured + excluded.captured;
    END IF;
    RETURN res;
END $$;

-- Posting without force: no leg can break a cap. Breaking one (returns, fees) is for post_batch alone, which no
-- service role may call.
CREATE FUNCTION ledger.post(
    p_entry uuid[], p_tenant bigint[], p_kind smallint[], p_booked_at timestamptz[], p_reference text[],
    p_acct bigint[], p_hold_ids uuid[],
    p_grp int[], p_dr int[], p_cr int[], p_amt bigint[], p_pend bigint[], p_hold int[])
RETURNS smallint[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN ledger.post_batch(p_entry, p_tenant, p_kind, p_booked_at, p_reference, p_acct, p_hold_ids,
                             p_grp, p_dr, p_cr, p_amt, p_pend, p_hold, array_fill(false, ARRAY[cardinality(p_grp)]));
END $$;

-- The public id of an account that a posting names. The other side of a transfer belongs to somebody else, and its id
-- is all that a customer may learn of it.
CREATE FUNCTION ledger.public_account_id(p_account_id bigint)
RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.public_id FROM ledger.account a WHERE a.account_id = p_account_id AND a.owner_id IS NOT NULL
$$;

-- Row-level security by tenant and owner, FORCEd. A setting that is missing gives zero rows, not an error and not
-- everything. The sub-selects are evaluated once per query. The owner of the tables (the definer functions) has a
-- policy of its own: FORCE leaves no role that passes without one.
ALTER TABLE ledger.account  ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger.account  FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger.balance  ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger.balance  FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger.entry    ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger.entry    FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger.hold     ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger.hold     FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger.transfer ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger.transfer FORCE ROW LEVEL SECURITY;

CREATE POLICY account_definer  ON ledger.account  TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY balance_definer  ON ledger.balance  TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY entry_definer    ON ledger.entry    TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY hold_definer     ON ledger.hold     TO portico_owner USING (true) WITH CHECK (true);
CREATE POLICY transfer_definer ON ledger.transfer TO portico_owner USING (true) WITH CHECK (true);

CREATE POLICY account_owner ON ledger.account FOR SELECT TO portico_core USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::bigint)
    AND owner_id = (SELECT nullif(current_setting('app.user_id', true), '')::uuid));
-- The policies below see ledger.account through the policy above.
CREATE POLICY balance_owner ON ledger.balance FOR SELECT TO portico_core USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::bigint)
    AND account_id = ANY (ARRAY(SELECT a.account_id FROM ledger.account a)));
CREATE POLICY hold_owner ON ledger.hold FOR SELECT TO portico_core USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::bigint)
    AND debit_id = ANY (ARRAY(SELECT a.account_id FROM ledger.account a)));
CREATE POLICY transfer_owner ON ledger.transfer FOR SELECT TO portico_core USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::bigint)
    AND (debit_id = ANY (ARRAY(SELECT a.account_id FROM ledger.account a))
         OR credit_id = ANY (ARRAY(SELECT a.account_id FROM ledger.account a))));
CREATE POLICY entry_owner ON ledger.entry FOR SELECT TO portico_core USING (
    tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::bigint)
    AND EXISTS (SELECT FROM ledger.transfer t WHERE t.entry_id = entry.entry_id));

REVOKE ALL ON ALL TABLES IN SCHEMA ledger FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;
GRANT USAGE ON SCHEMA ledger TO portico_core, portico_auditor;
GRANT SELECT ON ledger.currency, ledger.account, ledger.balance, ledger.entry, ledger.hold, ledger.transfer, ledger.posting TO portico_core;
GRANT SELECT ON ledger.currency, ledger.account, ledger.balance, ledger.entry, ledger.hold, ledger.transfer, ledger.posting TO portico_auditor;
GRANT EXECUTE ON FUNCTION ledger.public_account_id TO portico_core;
