// Allure 3's configuration, as `iqa-robustness report` uses it. A copy in the root of a repository serves
// `npx allure generate` as well; the variables then have the values that follow `??`.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const { env } = process;
const results = env.IQA_ALLURE_RESULTS ?? "reports/allure-results";
// A run writes them; Allure 3 itself takes categories from its configuration alone.
const categories = join(results, "categories.json");

export default {
  name: "Robustness of image-quality metrics",
  resultsDir: results,
  output: env.IQA_ALLURE_REPORT ?? "reports/allure-report",
  // One line a report: what trends and transitions are drawn from. CI keeps this file from run to run.
  historyPath: env.IQA_ALLURE_HISTORY ?? "reports/allure-history.jsonl",
  appendHistory: env.IQA_ALLURE_APPEND !== "no",
  historyLimit: 100,
  categories: existsSync(categories) ? JSON.parse(readFileSync(categories, "utf8")) : [],
  plugins: {
    awesome: {
      options: {
        reportName: "Robustness of image-quality metrics",
        singleFile: env.IQA_ALLURE_SINGLE !== "no",
        // Scenario, metric, defense.
        groupBy: ["epic", "feature", "story"],
        defaultSortBy: "status,asc",
        charts: [
          { type: "currentStatus", title: "Verdicts" },
          { type: "statusDynamics", title: "Verdicts, run by run", limit: 20 },
          { type: "testResultSeverities", title: "By tier", levels: ["blocker", "critical", "normal"] },
          { type: "statusTransitions", title: "What changed, run by run", limit: 20 },
          { type: "successRateDistribution", title: "Green cells, by scenario, metric and defense" },
          { type: "durations", title: "Seconds a cell took in this run", groupBy: "none" },
        ],
      },
    },
  },
};
