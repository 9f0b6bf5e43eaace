-- replies: what a language model answered, each prompt asked once.
-- grain:  run_id, reply_id
-- reads:  none
-- yields:
--   run_id        VARCHAR   SAE run
--   reply_id      VARCHAR   SHA-256 of the prompt, the model and its parameters
--   task          VARCHAR   describe or predict
--   model         VARCHAR   the model's name
--   text          VARCHAR   the reply, half a surrogate pair as U+FFFD; NULL when it was refused
--   finish_reason VARCHAR   as the server says: stop, or length when it was cut off
--   tokens_in     BIGINT    tokens of the prompt as the server counts them; NULL = not told
--   tokens_out    BIGINT    tokens of the reply; NULL = not told
--   seconds       DOUBLE    from the last try's start to the reply
--   asked         TIMESTAMP UTC
--   error         VARCHAR   why the server refused; NULL when it answered
create table if not exists raw.replies (
    run_id varchar not null,
    reply_id varchar not null,
    task varchar not null check (task in ('describe', 'predict')),
    model varchar not null,
    text varchar,
    finish_reason varchar,
    tokens_in bigint,
    tokens_out bigint,
    seconds double,
    asked timestamp,
    error varchar
)
