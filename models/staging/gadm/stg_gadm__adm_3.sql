{{ staged_admin_level(3) }}
