{{ staged_admin_level(5) }}
