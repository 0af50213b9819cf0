"""What people read: terminal table, markdown, HTML, Allure, pictures. Everything here reads outcomes and records."""
