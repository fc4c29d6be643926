{{ staged_admin_level(1) }}
