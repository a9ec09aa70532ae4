//! Swagger UI in a real browser.

use serde_json::json;

use crate::chromium::Browser;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn swagger_ui_works_under_its_policy_and_tries_out_the_running_gateway() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let browser = Browser::open(stage.path()).await;
    browser
        .go(&format!("{}/docs", system.endpoints().gateway_https))
        .await;

    let operations = browser
        .until("return document.querySelectorAll('.opblock').length")
        .await;
    assert!(operations.as_u64().unwrap() >= 14, "{operations} operations");
    let title = browser
        .run("return document.querySelector('.info .title').innerText")
        .await;
    assert!(title.as_str().unwrap().contains("Portico"), "{title}");

    // Log in as a developer does: the Authorize dialogue, the token, then “execute”.
    browser
        .until("const b = document.querySelector('button.authorize'); if (b) b.click(); return !!b")
        .await;
    browser
        .until("return !!document.querySelector('.auth-container input')")
        .await;
    let typed = "const i = document.querySelector('.auth-container input');\
                 Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(i, arguments[0]);\
                 i.dispatchEvent(new Event('input', {bubbles: true}));\
                 document.querySelector('.auth-btn-wrapper .authorize').click();\
                 document.querySelector('.auth-btn-wrapper .btn-done').click(); return true";
    browser.run_with(typed, &[json!(customer.tokens.access)]).await;
    let of_me = "[...document.querySelectorAll('.opblock-get')].find(o => o.querySelector('.opblock-summary-path').dataset.path === '/api/v1/me')";
    let click =
        |find: &str| format!("const b = {of_me}?.querySelector('{find}'); if (b) b.click(); return !!b");
    browser.until(&click(".opblock-summary-control")).await;
    // The button is there before the operation behind it: a program can be too fast for the page.
    let is_known = "return !!ui.specSelectors.specResolvedSubtree(['paths', '/api/v1/me', 'get'])";
    browser.until(is_known).await;
    browser.until(&click(".execute")).await;
    let answered = format!(
        "return {of_me}.querySelector('.live-responses-table tbody .response-col_status')?.innerText"
    );
    let status = browser.until(&answered).await;
    assert!(status.as_str().unwrap().starts_with("200"), "{status}");
    let body = browser
        .run(&format!(
            "return {of_me}.querySelector('.live-responses-table tbody .response-col_description').innerText"
        ))
        .await;
    assert!(body.as_str().unwrap().contains(&customer.email), "{body}");

    let complaints = browser.complaints().await;
    assert_eq!(complaints, Vec::<String>::new(), "the browser complains");
    browser.screenshot("swagger-ui.png").await;
    drop(browser);
    system.stop().await.unwrap();
}
