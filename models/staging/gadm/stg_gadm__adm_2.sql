{{ staged_admin_level(2) }}
