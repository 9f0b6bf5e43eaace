-- 002_forgotten_rows: drop rows of stages and runs that are no longer registered.
-- Version 1 kept the rows of a stage that was reset; the views in main would show them as results.
delete from raw.decoder_items
where
    run_id not in (
        select run_id from raw.stages where stage = 'encode' and status = 'done'
    );

delete from raw.metrics
where run_id not in (select run_id from raw.runs);
