"use strict";

SwaggerUIBundle({ url: "api", dom_id: "#docs", deepLinking: true, validatorUrl: null });
