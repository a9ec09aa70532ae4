-- Whether the author of a roll-out has signed it, or is only the name that was given.
ALTER TABLE control.rollout ADD COLUMN author_signed boolean NOT NULL DEFAULT false;
