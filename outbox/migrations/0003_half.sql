-- Half messages of rows in {published}. A row is written in the transaction that the message tells of; or, without an outbox
-- row, by a check that found none and gave the half message up for good.
CREATE TABLE {half} (
    id              {serial},
    half_id         {name} NOT NULL,      -- in the row's header outbox_half, and in every check
    published       BIGINT,
    state           {name} NOT NULL,      -- held, deciding, done, relayed, void
    broker          {name},
    topic           {name},
    half_offset     BIGINT,
    log_offset      BIGINT,
    message_id      {name},
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX {index}half_half_id {on half} (half_id);
CREATE INDEX {index}half_published {on half} (published);
CREATE INDEX {index}half_updated {on half} (updated_at, id);
