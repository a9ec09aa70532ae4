-- The three schemas and who may look into them. Tables, functions and their own grants come with the slices.
--
-- Everything belongs to portico_owner, which cannot log in; migrations run as it (SET ROLE). The roles themselves are
-- cluster-wide and are made before this file, by crates/database.

CREATE SCHEMA core;     -- people, sessions, accounts as customers see them: written by core-api
CREATE SCHEMA ledger;   -- double-entry postings: written through the posting function alone
CREATE SCHEMA control;  -- signing keys and what operators decide: written by control-plane

GRANT USAGE ON SCHEMA core, ledger TO portico_core;
-- core-api opens the sealed signing keys itself; which columns it may read is granted with the table.
GRANT USAGE ON SCHEMA control TO portico_control, portico_core;
GRANT USAGE ON SCHEMA core, ledger, control TO portico_auditor;

-- PostgreSQL lets everybody execute a new function. Here nobody may until a migration grants it.
ALTER DEFAULT PRIVILEGES FOR ROLE portico_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
