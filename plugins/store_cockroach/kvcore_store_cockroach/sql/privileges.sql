-- Those that the user lacks.
SELECT wanted.tab, wanted.privilege
FROM (
    VALUES
        ('kv', 'SELECT'),
        ('kv', 'INSERT'),
        ('kv', 'UPDATE'),
        ('kv', 'DELETE'),
        ('answered', 'SELECT'),
        ('answered', 'INSERT'),
        ('answered', 'DELETE'),
        ('kvcore_migrations', 'SELECT'),
        ('kvcore_migrations', 'UPDATE')
) AS wanted (tab, privilege)
WHERE NOT has_table_privilege(wanted.tab, wanted.privilege);
