{{ staged_admin_level(0) }}
