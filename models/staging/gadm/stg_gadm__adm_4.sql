{{ staged_admin_level(4) }}
