SELECT name FROM kvcore_migrations;
