-- predictions: the level that a language model predicted for each verifying case of a latent.
-- grain:  run_id, judge, latent_id, case_id
-- reads:  none
-- yields:
--   run_id          VARCHAR SAE run
--   judge           VARCHAR the model's name
--   latent_id       INTEGER 0-based
--   case_id         BIGINT  0-based
--   predicted_level BIGINT  0..10; NULL when the reply is no whole number in that range
--   reply_id        VARCHAR the reply in raw.replies
create table if not exists raw.predictions (
    run_id varchar not null,
    judge varchar not null,
    latent_id integer not null,
    case_id bigint not null,
    predicted_level bigint check (predicted_level between 0 and 10),
    reply_id varchar not null
)
