-- The ledger's invariants over every row: one result row per broken one. Run it as a role that sees everything.
WITH
net AS (
    SELECT p.account_id, sum(p.amount) AS amount FROM ledger.posting p GROUP BY p.account_id),
side AS (
    SELECT account_id, sum(dr) AS dr, sum(cr) AS cr, sum(drp) AS drp, sum(crp) AS crp FROM (
        SELECT debit_id AS account_id, amount AS dr, 0 AS cr, pending AS drp, 0 AS crp FROM ledger.transfer
        UNION ALL
        SELECT credit_id, 0, amount, 0, pending FROM ledger.transfer) s GROUP BY account_id),
finding AS (
    SELECT 'I1: postings of a currency and tenant do not sum to zero' AS broken, count(*) AS times FROM (
        SELECT FROM ledger.posting GROUP BY tenant_id, currency_id HAVING sum(amount) <> 0) x
    UNION ALL
    SELECT 'I1: postings of an entry do not sum to zero', count(*) FROM (
        SELECT FROM ledger.posting GROUP BY entry_id, currency_id HAVING sum(amount) <> 0) x
    UNION ALL
    SELECT 'I2: a balance is not the sum of its transfers', count(*)
      FROM ledger.balance b LEFT JOIN side s USING (account_id)
     WHERE (b.dr_posted, b.cr_posted, b.dr_pending, b.cr_pending)
           IS DISTINCT FROM (coalesce(s.dr, 0), coalesce(s.cr, 0), coalesce(s.drp, 0), coalesce(s.crp, 0))
    UNION ALL
    SELECT 'I2: a transfer names an account without a balance', count(*)
      FROM side s LEFT JOIN ledger.balance b USING (account_id) WHERE b.account_id IS NULL
    UNION ALL
    SELECT 'I2: the pending amounts are not those of the open holds', count(*)
      FROM ledger.balance b
      LEFT JOIN (SELECT debit_id AS account_id, sum(remaining) AS held FROM ledger.hold GROUP BY 1) d USING (account_id)
      LEFT JOIN (SELECT credit_id AS account_id, sum(remaining) AS held FROM ledger.hold GROUP BY 1) c USING (account_id)
     WHERE b.dr_pending <> coalesce(d.held, 0) OR b.cr_pending <> coalesce(c.held, 0)
    UNION ALL
    SELECT 'I3: a running balance does not follow from the one before', count(*) FROM (
        SELECT p.balance_after - p.amount - lag(p.balance_after, 1, 0::bigint) OVER (PARTITION BY p.account_id ORDER BY p.seq) AS gap
          FROM ledger.posting p) x WHERE x.gap <> 0
    UNION ALL
    SELECT 'I3: the last running balance is not the balance', count(*)
      FROM ledger.balance b LEFT JOIN net n USING (account_id) WHERE b.dr_posted - b.cr_posted <> coalesce(n.amount, 0)
    UNION ALL
    SELECT 'I4: a counter is negative', count(*) FROM ledger.balance
     WHERE least(dr_posted, cr_posted, dr_pending, cr_pending) < 0
    UNION ALL
    SELECT 'I5: a cap is broken by more than was forced', count(*) FROM ledger.balance
     WHERE dr_posted + dr_pending - cr_posted > debit_cap + forced OR cr_posted + cr_pending - dr_posted > credit_cap + forced
    UNION ALL
    SELECT 'I6: an entry without transfers, or transfers without their entry', count(*)
      FROM ledger.entry e FULL JOIN ledger.transfer t USING (entry_id)
     WHERE e.entry_id IS NULL OR t.entry_id IS NULL OR e.tenant_id <> t.tenant_id
    UNION ALL
    SELECT 'I6: a success was kept for an entry that is not there', count(*)
      FROM core.idempotency_record r
     WHERE r.status = 201 AND NOT EXISTS (SELECT FROM ledger.entry e WHERE e.entry_id = r.resource_id)
       AND NOT EXISTS (SELECT FROM ledger.account a WHERE a.public_id = r.resource_id)
    UNION ALL
    SELECT 'I6: a refusal was kept for an entry that is there', count(*)
      FROM core.idempotency_record r JOIN ledger.entry e ON e.entry_id = r.resource_id WHERE r.status >= 400
    UNION ALL
    SELECT 'I8: a hold has released more than it held', count(*) FROM ledger.hold WHERE remaining < 0 OR captured < 0
    UNION ALL
    SELECT 'I13: a transfer between tenants or currencies', count(*)
      FROM ledger.transfer t JOIN ledger.account d ON d.account_id = t.debit_id JOIN ledger.account c ON c.account_id = t.credit_id
     WHERE NOT (d.tenant_id = t.tenant_id AND c.tenant_id = t.tenant_id AND d.currency_id = t.currency_id AND c.currency_id = t.currency_id)
    UNION ALL
    SELECT 'I14: a posted entry without its event', count(*)
      FROM ledger.entry e WHERE e.kind IN (1, 2, 3) AND NOT EXISTS (SELECT FROM core.outbox_event o WHERE o.subject_id = e.entry_id))
SELECT broken, times FROM finding WHERE times > 0 ORDER BY broken
