-- Messages that are to be sent. A row is written in the transaction that the message tells of.
CREATE TABLE {published} (
    id              {serial},
    business_id     {name} NOT NULL,      -- names the event once and for all; receivers dedupe by it
    topic           {name} NOT NULL,
    tag             {name},
    order_key       {name},               -- rows of one key are sent in the order of their ids
    content         {blob} NOT NULL,
    headers         {text} NOT NULL,      -- a JSON object of texts
    deliver_at      BIGINT,               -- the broker delivers it then; milliseconds since 1970, as all times here
    status          {name} NOT NULL,      -- pending, done, exhausted, dropped
    attempts        BIGINT NOT NULL,      -- tries that have ended, the last failure's too
    next_attempt_at BIGINT NOT NULL,      -- while claimed: when the claim ends
    claimed_by      {name},
    last_error      {text},
    sent_as         {name},               -- the broker's id of it
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX {index}published_business {on published} (topic, business_id);
CREATE INDEX {index}published_due {on published} ({status,}next_attempt_at, id){where pending};
CREATE INDEX {index}published_order {on published} ({status,}order_key, id){where pending};
CREATE INDEX {index}published_exhausted {on published} ({status,}id){where exhausted};

-- The same without what only sending needs; for rows that are cleaned away with archiving.
CREATE TABLE {archive} (
    id              BIGINT NOT NULL PRIMARY KEY,
    business_id     {name} NOT NULL,
    topic           {name} NOT NULL,
    tag             {name},
    order_key       {name},
    content         {blob} NOT NULL,
    headers         {text} NOT NULL,
    deliver_at      BIGINT,
    status          {name} NOT NULL,
    attempts        BIGINT NOT NULL,
    last_error      {text},
    sent_as         {name},
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
