INSERT INTO answered (request_id, at, outcome)
VALUES (?1, ?2, ?3);
